"""Our session and the broker's: how long they live, how they end, and what the database may know of them."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.clock import IST
from app.resources import NotReady, open_resources
from app.safeguards.rekeying import rekey_heads
from app.safeguards.sealing import KeyRing
from tests.support.clock import SettableClock
from tests.support.investor import Browser, signed_in, slug
from tests.support.ledgers import opened
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=IST)


async def test_the_session_tells_when_it_ends(service: Service, broker: SimulatedBroker, clock: SettableClock) -> None:
    clock.set(at("2026-11-23T10:00:00"))
    async with signed_in(service, broker) as browser:
        session = (await browser.get("/v1/session")).json()
    signed_in_at = datetime.fromisoformat(session["signedInAt"])
    assert abs(signed_in_at - at("2026-11-23T10:00:00")) < timedelta(seconds=20)
    assert datetime.fromisoformat(session["expiresAt"]) - signed_in_at == timedelta(hours=24)
    assert datetime.fromisoformat(session["idleExpiresAt"]) - signed_in_at == timedelta(minutes=30)
    assert session["broker"]["expiresAt"] == "2026-11-23T18:30:00Z"
    assert session["broker"]["loginUrl"] == f"{service.url}/sso/login"


async def test_an_idle_session_expires(service: Service, broker: SimulatedBroker, clock: SettableClock) -> None:
    async with signed_in(service, broker) as browser:
        clock.advance(timedelta(minutes=29))
        assert (await browser.get("/v1/session")).status_code == 200
        clock.advance(timedelta(minutes=29))
        assert (await browser.get("/v1/session")).status_code == 200
        clock.advance(timedelta(minutes=31))
        answer = await browser.get("/v1/session")
    assert (answer.status_code, slug(answer)) == (401, "session-expired")


async def test_a_background_question_keeps_nothing_alive(
    service: Service, broker: SimulatedBroker, clock: SettableClock
) -> None:
    async with signed_in(service, broker) as browser:
        for _ in range(3):
            clock.advance(timedelta(minutes=9))
            assert (await browser.get("/v1/session", headers={"X-Background": "true"})).status_code == 200
        clock.advance(timedelta(minutes=4))
        assert slug(await browser.get("/v1/session", headers={"X-Background": "true"})) == "session-expired"


async def test_a_busy_session_ends_with_its_age(
    service: Service, broker: SimulatedBroker, clock: SettableClock
) -> None:
    async with signed_in(service, broker) as browser:
        for _ in range(71):
            clock.advance(timedelta(minutes=20))
            assert (await browser.get("/v1/session")).status_code == 200
        clock.advance(timedelta(minutes=21))
        assert slug(await browser.get("/v1/session")) == "session-expired"


@pytest.mark.parametrize(
    ("signed_in_at", "ends_at"),
    [("2026-11-23T23:59:00", "2026-11-24T00:00:00"), ("2026-11-24T00:00:00", "2026-11-24T06:00:00"),
     ("2026-11-24T05:59:00", "2026-11-24T06:00:00"), ("2026-11-24T06:00:01", "2026-11-25T00:00:00")],
)  # fmt: skip
async def test_the_broker_session_ends_at_the_next_cut_off(
    service: Service, broker: SimulatedBroker, clock: SettableClock, signed_in_at: str, ends_at: str
) -> None:
    clock.set(at(signed_in_at))
    patient = service.settings.model_copy(update={"session_idle_timeout": timedelta(days=1)})
    async with serving(patient, clock) as long_lived, signed_in(long_lived, broker) as browser:
        told = (await browser.get("/v1/session")).json()["broker"]
        assert datetime.fromisoformat(told["expiresAt"]) == at(ends_at)
        clock.set(at(ends_at) - timedelta(seconds=20))
        assert (await browser.get("/v1/funds")).status_code == 200
        clock.set(at(ends_at))
        asked = len(broker.received())
        assert slug(await browser.get("/v1/funds")) == "broker-session-expired"
        told = (await browser.get("/v1/session")).json()["broker"]
    assert (told["connected"], told["reason"]) == (False, "expired")
    assert len(broker.received()) == asked


async def test_logging_out_ends_the_session_and_its_cookie(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser, Browser(service) as thief:
        thief.cookies.set("session", browser.cookies["session"])
        answer = await browser.delete("/v1/session")
        assert answer.status_code == 204
        assert 'session=""' in answer.headers["set-cookie"]
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert answer.headers["cache-control"] == "no-store"
        assert slug(await thief.get("/v1/session")) == "not-signed-in"
        assert slug(await browser.delete("/v1/session")) == "not-signed-in"


async def test_two_devices_share_one_broker_session_and_end_apart(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as phone, signed_in(service, broker) as desk:
        assert (await phone.get("/v1/funds")).status_code == 200
        await phone.delete("/v1/session")
        assert (await desk.get("/v1/funds")).status_code == 200
    assert len({each["headers"]["authorization"] for each in broker.received("funds")}) == 1


@pytest.mark.parametrize("cookie", ["", "x", "a" * 43, "a" * 5000, "é" * 43])
async def test_a_cookie_that_is_none_of_ours_signs_nobody_in(service: Service, cookie: str) -> None:
    async with Browser(service) as browser:
        answer = await browser.get("/v1/session", headers={b"Cookie": b"session=" + cookie.encode("utf-8")})
    assert slug(answer) == "not-signed-in"


async def test_the_database_holds_no_usable_secret(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        parameters = broker.code_for("AB1234")
        await browser.come_back(parameters)
        await browser.get("/v1/funds")
        dump = ""
        for table in ("users", "sessions", "broker_sessions", "spent_auth_codes"):
            dump += "".join(str(dict(row)) for row in await rows.fetch(f"SELECT * FROM {table}"))
        token = broker.received("funds")[0]["headers"]["authorization"].removeprefix("Bearer ")
        for secret in (
            browser.cookies["session"],
            parameters["authCode"],
            token,
            token[:40],
            "9876543210",
            "ABCPM1234K",
        ):
            assert secret not in dump
    assert "Asha Menon" in dump
    assert "127.0.0.0/24" in dump
    assert "127.0.0.1" not in dump


async def test_an_ended_broker_session_keeps_no_token(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with signed_in(service, broker) as browser:
        broker.expire()
        await browser.get("/v1/funds")
    row = await rows.fetchrow("SELECT token_sealed, token_key_id, ended_reason FROM broker_sessions")
    assert tuple(row) == (None, None, "refused-by-broker")


async def test_a_token_moved_to_another_row_does_not_open(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with signed_in(service, broker) as victim, signed_in(service, broker, "FO5678") as thief:
        assert (await victim.get("/v1/funds")).status_code == 200
        await rows.execute(
            "UPDATE broker_sessions SET token_sealed = victim.token_sealed FROM broker_sessions AS victim"
            " WHERE victim.user_id = 'AB1234' AND broker_sessions.user_id = 'FO5678'"
        )
        asked = len(broker.received())
        answer = await thief.get("/v1/funds")
    assert (answer.status_code, slug(answer)) == (401, "broker-session-expired")
    assert len(broker.received()) == asked


async def test_a_new_key_seals_and_the_old_one_still_opens(
    service: Service, broker: SimulatedBroker, clock: SettableClock, rows: asyncpg.Connection
) -> None:
    old = service.settings.encryption_keys
    new = type(old[0])("k2", type(old[0].secret)(bytes(range(50, 82))))
    rotated = service.settings.model_copy(update={"encryption_keys": (new, *old)})
    async with signed_in(service, broker) as browser, serving(rotated, clock) as replica, Browser(replica) as there:
        there.cookies.set("session", browser.cookies["session"])
        assert (await there.get("/v1/funds")).status_code == 200
        await there.sign_in(broker)
    assert await rows.fetchval("SELECT token_key_id FROM broker_sessions") == "k2"


async def test_times_are_told_in_utc(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        session = (await browser.get("/v1/session")).json()
    assert datetime.fromisoformat(session["signedInAt"]).tzinfo == UTC


async def test_a_key_can_leave_although_its_owner_never_came_back(
    service: Service, broker: SimulatedBroker, clock: SettableClock, rows: asyncpg.Connection
) -> None:
    old = service.settings.encryption_keys
    new = type(old[0])("k2", type(old[0].secret)(bytes(range(50, 82))))
    alone = service.settings.model_copy(update={"encryption_keys": (new,)})
    async with signed_in(service, broker):
        with pytest.raises(NotReady, match="ENCRYPTION_KEYS lacks k1"):
            async with open_resources(alone, clock):
                pass
        clock.advance(timedelta(days=1, minutes=1))
        with pytest.raises(NotReady, match=r"^ENCRYPTION_KEYS lacks k1, by which heads of the ledger are sealed"):
            async with open_resources(alone, clock):
                pass
        db = opened(service.settings.database_url.get_secret_value())
        assert (await rekey_heads(db, KeyRing((new, *old)), 10)).count == 1
        await db.aclose()
        async with serving(alone, clock):
            assert await rows.fetchval("SELECT token_sealed FROM broker_sessions") is None
            assert await rows.fetchval("SELECT ended_reason FROM broker_sessions") == "expired"


async def test_an_expired_token_is_erased_when_somebody_asks_for_it(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with signed_in(service, broker) as browser:
        await rows.execute("UPDATE broker_sessions SET expires_at = now() - interval '1 second'")
        assert slug(await browser.get("/v1/funds")) == "broker-session-expired"
    assert await rows.fetchval("SELECT token_sealed FROM broker_sessions") is None


@pytest.mark.parametrize(
    "cookie",
    [
        b"\xa0session=%s", b"\x85session=%s", b"session=x; \xa0session=%s", b"session=%s; session=x",
        b"SESSION=%s", b"session=%s; Session=x", b'session="%s"',
    ],
)  # fmt: skip
async def test_a_cookie_that_only_looks_like_ours_is_none(
    service: Service, broker: SimulatedBroker, cookie: bytes
) -> None:
    """Chromium stores a name with such a byte before it although `__Host-` names are for their own host alone."""
    async with signed_in(service, broker) as browser, Browser(service) as other:
        token = browser.cookies["session"].encode()
        planted = await other.get("/v1/session", headers={b"Cookie": cookie % token})
        assert slug(planted) == "not-signed-in"
        exact = await other.get("/v1/session", headers={b"Cookie": b"a=b;\t session=%s ; c" % token})
        assert exact.status_code == 200
