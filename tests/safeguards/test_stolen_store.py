"""Whoever steals the whole database and every line of the log has no session, no code and no token of the broker."""

import base64
import contextlib
import hashlib
import io
import logging
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import asyncpg
import httpx
import pytest
from pydantic import SecretBytes

from app.clock import Clock
from app.observability import configure_logging
from app.safeguards.sealing import CannotOpen, KeyRing, Place, Sealed
from app.sessions.tokens import session_token, token_hash
from app.settings_parsing import EncryptionKey
from app.sso.attempts import read_attempts
from tests.support.configured import API_SECRET, KEY
from tests.support.investor import Browser, slug
from tests.support.replicas import ORDER, fresh_key
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

_WORD = re.compile(r"[A-Za-z0-9+/=_.~%-]{20,}")
_KEY_LENGTH = 32
_SHORTEST = 12  # bytes; less may stand there by chance
_MOST = 400  # or each of them can't be tried


@dataclass(frozen=True)
class Loot:
    """What was stolen, and what it must not hold."""

    text: str
    secrets: dict[str, str]
    attempt_id: bytes

    @property
    def stored(self) -> list[bytes]:
        """Return everything that is stored as bytes: hashes, and what is sealed."""
        return [bytes.fromhex(each) for each in re.findall(r"\\+x((?:[0-9a-f]{2})+)", self.text)]

    @property
    def words(self) -> list[str]:
        """Return everything long enough to be a credential, and what is stored as bytes in a cookie's alphabet."""
        found = sorted({*_WORD.findall(self.text), *(encoded(each) for each in self.stored)})
        assert len(self.stored) < len(found) < _MOST
        return found


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Give what is written at the most talkative level, every library's lines among it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        configure_logging(level="DEBUG", log_format="json")
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)


async def dumped(rows: asyncpg.Connection) -> str:
    """Return every row of every table as text."""
    tables = await rows.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    lines = []
    for (table,) in tables:
        lines += [f"{table}: {row[0]}" for row in await rows.fetch(f'SELECT stolen::text FROM "{table}" AS stolen')]
    return "\n".join(lines)


@pytest.fixture
async def loot(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection, log: io.StringIO
) -> AsyncIterator[Loot]:
    """Let an investor sign in, after some trouble, read and trade; then steal."""
    quiet = {"X-Request-ID": "r"}  # ours are random and long, and mean nothing
    async with Browser(service) as browser:
        browser.headers.update(quiet)
        assert slug(await browser.come_back(broker.code_for("AB1234"))) == "login-attempt-missing"
        await browser.begin_login()
        wrong = {"authCode": "WRONGCODEWRONGCODE22", "userId": "AB1234"}
        assert slug(await browser.come_back(wrong)) == "login-refused"
        await browser.begin_login()
        parameters = broker.code_for("AB1234")
        ring = KeyRing(service.settings.encryption_keys)
        [attempt, *_] = read_attempts(ring, browser.cookies["login"], Clock().now()).newest_first
        assert (await browser.come_back(parameters)).status_code == 303
        for path in ("session", "profile", "funds", "holdings", "orders", "placements", "rate-limits"):
            assert (await browser.get(f"/v1/{path}")).status_code == 200
        placed = await browser.post("/v1/orders", json=ORDER, headers={"Idempotency-Key": fresh_key()})
        assert placed.status_code == 201
        async with Browser(service) as late:
            late.headers.update(quiet)
            await late.begin_login()
            assert slug(await late.come_back(parameters)) == "auth-code-used"
        secrets = {
            "session": browser.cookies["session"],
            "attempt": browser.cookies["login"],
            "attempt's id": encoded(attempt.id),
            "code": parameters["authCode"],
            "refused code": wrong["authCode"],
            "token": broker.received("funds")[-1]["headers"]["authorization"].removeprefix("Bearer "),
            "checksum": broker.received("exchange")[-1]["body"]["checkSum"],
            "API secret": API_SECRET,
            "key": KEY.partition(":")[2],
        }
        stolen = f"{await dumped(rows)}\n{log.getvalue()}"
        assert '"route": "/sso/callback"' in log.getvalue()
        assert placed.json()["orders"][0]["orderNo"] in stolen
        yield Loot(stolen, secrets, attempt.id)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def forms_of(secret: str) -> set[str]:
    """Return a secret as it stands, and as somebody may have stored or told it."""
    raw = {secret.encode()}
    with contextlib.suppress(ValueError):
        raw.add(
            base64.b64decode(secret + "=" * (-len(secret) % 4), altchars=b"-_" if set(secret) & set("-_") else None)
        )
    long_enough = [each for each in raw if len(each) >= _SHORTEST]
    return {secret} | {
        form for each in long_enough for form in (each.hex(), encoded(each), base64.b64encode(each).decode())
    }


async def test_no_secret_stands_in_the_dump_or_the_log_in_any_form(loot: Loot) -> None:
    # The code's SHA-256 does. Nobody turns that back: twenty random characters are more than can be tried.
    assert hashlib.sha256(loot.secrets["code"].encode()).hexdigest() in loot.text
    assert all(len(secret) >= len(API_SECRET) for secret in loot.secrets.values())
    found = [name for name, secret in loot.secrets.items() if any(form in loot.text for form in forms_of(secret))]
    assert found == []


async def test_nothing_in_the_dump_or_the_log_is_a_session_or_a_token_of_the_broker(
    loot: Loot, service: Service, broker: SimulatedBroker
) -> None:
    ours, theirs = f"{service.url}/v1/session", f"{broker.url}/funds-rest/funds/limits"
    async with httpx.AsyncClient(headers={"Origin": service.url}) as thief:

        async def tried(word: str) -> tuple[int, int]:
            as_session = await thief.get(ours, headers={"Cookie": f"session={word}"})
            as_token = await thief.get(theirs, headers={"Authorization": f"Bearer {word}"})
            return as_session.status_code, as_token.status_code

        assert {await tried(word) for word in loot.words} == {(401, 401)}
        assert await tried(loot.secrets["session"]) == (200, 401)
        assert await tried(loot.secrets["token"]) == (401, 200)


async def test_nothing_in_the_dump_or_the_log_is_a_code_that_signs_anybody_in(loot: Loot, service: Service) -> None:
    refusals = set()
    async with Browser(service) as thief:
        for word in [*loot.words, loot.secrets["code"]]:  # not even the code itself, which is spent
            await thief.begin_login()
            refusals.add(slug(await thief.come_back({"authCode": word, "userId": "AB1234"})))
            assert "session" not in thief.cookies
    assert refusals == {"invalid-request", "login-refused", "auth-code-used"}


async def test_without_the_ring_not_even_the_attempt_and_the_code_make_the_session(
    loot: Loot, service: Service, rows: asyncpg.Connection
) -> None:
    """Neither of the two is in the loot; where they were, the ring would still be wanting (docs/decisions/0009)."""
    known = [row["token_hash"] for row in await rows.fetch("SELECT token_hash FROM sessions")]
    [row] = await rows.fetch("SELECT id, token_sealed, token_key_id FROM broker_sessions")
    sealed = Sealed(row["token_key_id"], row["token_sealed"])
    place = Place("broker_sessions", "token_sealed", str(row["id"]))

    def made_by(ring: KeyRing) -> bytes:
        return token_hash(session_token(ring, "k1", loot.attempt_id, loot.secrets["code"]))

    ours = KeyRing(service.settings.encryption_keys)
    assert made_by(ours) in known
    assert ours.open(sealed, place).get_secret_value() == loot.secrets["token"]
    guesses = [bytes(_KEY_LENGTH), *(each[:_KEY_LENGTH] for each in loot.stored if len(each) >= _KEY_LENGTH)]
    assert len(guesses) > 3
    for guess in guesses:
        theirs = KeyRing((EncryptionKey("k1", SecretBytes(guess)),))
        assert made_by(theirs) not in known
        with pytest.raises(CannotOpen):
            theirs.open(sealed, place)
