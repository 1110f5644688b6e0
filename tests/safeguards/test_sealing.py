"""Keys, seals and lifetimes, by themselves."""

import base64
import json
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr

from app.clock import IST, next_occurrence
from app.safeguards.sealing import CannotOpen, KeyRing, Place, Sealed
from app.sessions.lifetimes import broker_session_end
from app.settings_parsing import EncryptionKey
from app.sso.attempts import begin_attempt, read_attempts

ONE = EncryptionKey("k1", SecretBytes(bytes(range(32))))
TWO = EncryptionKey("k2", SecretBytes(bytes(range(32, 64))))
HERE = Place("broker_sessions", "token_sealed", "row-1")
NOON = datetime(2026, 11, 23, 12, tzinfo=IST).astimezone(UTC)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_in_its_place(secret: str) -> None:
    ring = KeyRing((ONE,))
    assert ring.open(ring.seal(SecretStr(secret), HERE), HERE).get_secret_value() == secret


def test_two_seals_of_one_secret_differ() -> None:
    ring = KeyRing((ONE,))
    assert ring.seal(SecretStr("x"), HERE).content != ring.seal(SecretStr("x"), HERE).content


@pytest.mark.parametrize(
    "place",
    [
        Place("users", "token_sealed", "row-1"),
        Place("broker_sessions", "name", "row-1"),
        Place("broker_sessions", "token_sealed", "row-2"),
    ],
)
def test_a_seal_opens_nowhere_else(place: Place) -> None:
    ring = KeyRing((ONE,))
    with pytest.raises(CannotOpen):
        ring.open(ring.seal(SecretStr("x"), HERE), place)


def test_a_changed_seal_a_changed_key_id_and_a_missing_key_do_not_open() -> None:
    ring = KeyRing((ONE, TWO))
    sealed = ring.seal(SecretStr("x"), HERE)
    for broken in (
        Sealed("k1", sealed.content[:-1] + bytes([sealed.content[-1] ^ 1])),
        Sealed("k2", sealed.content),
        Sealed("k9", sealed.content),
        Sealed("k1", sealed.content[:5]),
    ):
        with pytest.raises(CannotOpen):
            ring.open(broken, HERE)
    assert "x" not in repr(sealed)
    with pytest.raises(CannotOpen):
        ring.sign("purpose", b"", key_id="k9")


def test_sub_keys_differ_by_purpose_and_key() -> None:
    ring = KeyRing((ONE, TWO))
    signatures = {ring.sign("a", b"m"), ring.sign("b", b"m"), ring.sign("a", b"m", key_id="k2")}
    assert len(signatures) == 3


def test_attempts_of_an_older_key_are_still_ours() -> None:
    cookie = begin_attempt(KeyRing((ONE,)), read_attempts(KeyRing((ONE,)), "", NOON), "https://app/", NOON)
    found = read_attempts(KeyRing((TWO, ONE)), cookie, NOON)
    assert [attempt.return_to for attempt in found.newest_first] == ["https://app/"]
    assert found.key_id == "k1"
    assert read_attempts(KeyRing((TWO,)), cookie, NOON).newest_first == ()


def test_a_cookie_of_attempts_never_outgrows_a_browser() -> None:
    ring, cookie = KeyRing((ONE,)), ""
    for tab in range(5):
        now = NOON + timedelta(seconds=tab)
        cookie = begin_attempt(ring, read_attempts(ring, cookie, now), f"https://app/{tab}" + "x" * 1900, now)
        assert len(cookie) <= 3800
    assert (
        read_attempts(ring, cookie, NOON + timedelta(seconds=9)).newest_first[0].return_to.startswith("https://app/4")
    )


@given(st.text(max_size=60))
def test_no_cookie_crashes_the_reader(cookie: str) -> None:
    assert read_attempts(KeyRing((ONE,)), cookie, NOON).newest_first == ()


def token(claims: object) -> SecretStr:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return SecretStr(f"eyJh.{middle}.c2ln")


@pytest.mark.parametrize(
    ("given_token", "ends_after"),
    [
        (SecretStr("opaque"), timedelta(hours=12)), (SecretStr("a.b.c"), timedelta(hours=12)),
        (SecretStr("a.W10.c"), timedelta(hours=12)), (token({"exp": "soon"}), timedelta(hours=12)),
        (token({"exp": 1e300}), timedelta(hours=12)), (token({"exp": True}), timedelta(hours=12)),
        (token({"exp": (NOON + timedelta(days=60)).timestamp()}), timedelta(hours=12)),
        (token({"exp": (NOON + timedelta(hours=1)).timestamp()}), timedelta(hours=1)),
    ],
)  # fmt: skip
def test_a_broker_session_ends_at_the_first_of_its_ends(given_token: SecretStr, ends_after: timedelta) -> None:
    assert broker_session_end(NOON, given_token, (time(0), time(6))) == NOON + ends_after


def test_without_cut_offs_it_ends_after_a_day() -> None:
    assert broker_session_end(NOON, SecretStr("opaque"), ()) == NOON + timedelta(hours=24)


def _naive(year: int) -> datetime:
    return datetime(year, 1, 1)  # noqa: DTZ001  # hypothesis wants its bounds so


@given(
    st.datetimes(_naive(2020), _naive(2040), timezones=st.just(UTC)),
    st.lists(st.times(), min_size=1, max_size=4),
)
def test_the_next_occurrence_is_later_and_within_a_day(after: datetime, times: list[time]) -> None:
    found = next_occurrence(after, tuple(times))
    assert found is not None
    assert timedelta(0) < found - after <= timedelta(days=1)
    assert found.astimezone(IST).time() in times
