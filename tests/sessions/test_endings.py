"""Sessions end: on this device, on another one, everywhere; on every replica within a second, whoever remembers."""

import asyncio
import uuid
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from app.safeguards.notices import keep_hearing
from tests.support.clock import SettableClock
from tests.support.investor import Browser, signed_in, slug
from tests.support.replicas import Replicas, Trader, received, trading, until
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

A_SECOND = 1.0


async def devices(browser: Browser, at: Service | None = None) -> list[dict[str, object]]:
    answer = await browser.get(f"{at.url if at else ''}/v1/sessions")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()["sessions"]
    return found


async def becomes_signed_out(browser: Browser, at: Service) -> httpx.Response:
    """Ask again and again until the session is gone; whoever asks a second from now or later is not let in."""
    now = asyncio.get_running_loop().time
    ended_at = last_let_in = now()

    async def gone() -> httpx.Response | None:
        nonlocal last_let_in
        asked_at = now()
        answer = await browser.get(f"{at.url}/v1/session")
        if answer.status_code == 200:
            last_let_in = asked_at
            return None
        return answer

    answer = await until(gone)
    assert last_let_in - ended_at < A_SECOND
    return answer


async def test_a_user_sees_his_devices_and_nobody_elses(service: Service, broker: SimulatedBroker) -> None:
    async with (
        signed_in(service, broker) as desk,
        Browser(service) as phone,
        signed_in(service, broker, "FO5678") as other,
    ):
        phone.headers["User-Agent"] = "Phone/1.0"
        await phone.sign_in(broker)
        await phone.get("/v1/session")
        listed = (await desk.get("/v1/sessions")).json()
        assert len(await devices(other)) == 1
    assert set(listed) == {"sessions", "asOf"}
    assert len(listed["sessions"]) == 2
    assert set(listed["sessions"][0]) == {"id", "current", "createdAt", "lastSeenAt", "userAgent", "addressPrefix"}
    assert {(each["userAgent"], each["current"]) for each in listed["sessions"]} == {
        ("Phone/1.0", False), (f"python-httpx/{httpx.__version__}", True),
    }  # fmt: skip
    assert {each["addressPrefix"] for each in listed["sessions"]} == {"127.0.0.0/24"}


async def test_only_live_devices_are_listed(service: Service, broker: SimulatedBroker, clock: SettableClock) -> None:
    async with signed_in(service, broker), signed_in(service, broker) as gone:
        await gone.delete("/v1/session")
        clock.advance(timedelta(minutes=31))
        async with signed_in(service, broker) as desk:
            assert [each["current"] for each in await devices(desk)] == [True]


async def test_one_device_is_ended_and_only_that_one(replicas: Replicas, broker: SimulatedBroker) -> None:
    async with trading(replicas.first, broker) as desk, trading(replicas.second, broker) as phone:
        assert (await phone.get("/v1/session")).status_code == 200, "and the second replica remembers it now"
        [its] = [str(each["id"]) for each in await devices(desk) if not each["current"]]
        answer = await desk.delete(f"/v1/sessions/{its}")
        assert (answer.status_code, answer.headers.get("set-cookie")) == (204, None)
        assert slug(await becomes_signed_out(phone, replicas.second)) == "not-signed-in"
        assert slug(await desk.delete(f"/v1/sessions/{its}")) == "not-found"
        [mine] = [str(each["id"]) for each in await devices(desk)]
        ended = await desk.delete(f"/v1/sessions/{mine}")
        assert 'session=""' in ended.headers["set-cookie"], "this one was his own"
        assert slug(await desk.get("/v1/session")) == "not-signed-in"


async def test_anothers_session_is_not_found_like_one_that_never_was(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as asha, signed_in(service, broker, "FO5678") as other:
        [theirs] = [str(each["id"]) for each in await devices(other)]
        answers = [await asha.delete(f"/v1/sessions/{each}") for each in (theirs, uuid.uuid4(), "x", "0" * 36, "%00")]
        assert {(each.status_code, slug(each)) for each in answers} == {(404, "not-found")}
        assert len({each.text for each in answers}) == 1
        assert (await other.get("/v1/session")).status_code == 200


async def test_logging_out_everywhere_ends_every_device_on_every_replica_within_a_second(
    replicas: Replicas, broker: SimulatedBroker
) -> None:
    async with (
        trading(replicas.first, broker) as desk,
        trading(replicas.second, broker) as phone,
        Trader(replicas.first) as thief,
        trading(replicas.second, broker, "FO5678") as other,
    ):
        thief.cookies.set("session", desk.cookies["session"])
        for each in (desk, phone):
            for replica in replicas.both:
                assert (await each.get(f"{replica.url}/v1/session")).status_code == 200
        answer = await desk.delete("/v1/sessions")
        assert answer.status_code == 204
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert answer.headers["cache-control"] == "no-store"
        for each in (thief, phone):
            for replica in replicas.both:
                assert slug(await becomes_signed_out(each, replica)) == "not-signed-in"
        assert (await other.get("/v1/session")).status_code == 200
    row = await replicas.store.rows.fetchrow(
        "SELECT token_sealed, ended_reason FROM broker_sessions WHERE user_id = 'AB1234'"
    )
    assert tuple(row) == (None, "logged-out"), "nothing is looked after, so the token is not kept either"


async def test_the_token_stays_while_an_unknown_order_needs_it(replicas: Replicas, broker: SimulatedBroker) -> None:
    async with trading(replicas.first, broker) as asha:
        broker.order_switches(shownAfterSeconds=600)
        broker.break_call("place", "hanging", times=1, after=True)
        placed = await asha.place()
        assert placed.status_code == 202
        assert (await asha.delete("/v1/sessions")).status_code == 204
        before = len(broker.received("orderBook"))
        await replicas.store.ask_for_a_look()
        await received(broker, "orderBook", before + 1)
    assert await replicas.store.rows.fetchval("SELECT token_sealed IS NOT NULL FROM broker_sessions")


async def test_a_sign_in_elsewhere_repairs_every_device_at_once(replicas: Replicas, broker: SimulatedBroker) -> None:
    async with trading(replicas.first, broker) as desk, trading(replicas.second, broker) as phone:
        broker.expire()
        assert slug(await desk.get("/v1/funds")) == "broker-session-expired"
        told = (await desk.get("/v1/session")).json()["broker"]
        assert (told["connected"], told["reason"]) == (False, "refused-by-broker")
        assert told["loginUrl"].endswith("/sso/login")

        async def knows() -> bool:
            return (await phone.get("/v1/session")).json()["broker"]["connected"] is False

        await until(knows)
        await desk.sign_in(broker)
        assert (await phone.get("/v1/funds")).status_code == 200
        assert (await desk.get("/v1/funds")).status_code == 200
    assert len({each["headers"]["authorization"] for each in broker.received("funds")[-2:]}) == 1


async def test_concurrent_refusals_end_the_broker_session_once(
    replicas: Replicas, broker: SimulatedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with trading(replicas.first, broker) as asha:
        broker.expire()
        paths = ("funds", "holdings", "positions", "trades", "profile")
        answers = await asyncio.gather(
            *(asha.get(f"{replica.url}/v1/{path}") for replica in replicas.both for path in paths)
        )
        assert {slug(each) for each in answers} == {"broker-session-expired"}
        asked = len(broker.received())
        assert slug(await asha.get("/v1/funds")) == "broker-session-expired"
        assert len(broker.received()) == asked
    ended = [each for each in caplog.records if "broker_session_refused" in str(each.msg)]
    assert len(ended) == 1, "whoever came second found it ended"
    rows = await replicas.store.rows.fetch("SELECT ended_reason FROM broker_sessions")
    assert [row["ended_reason"] for row in rows] == ["refused-by-broker"]


async def test_a_late_refusal_of_an_old_token_kills_no_newer_session(
    replicas: Replicas, broker: SimulatedBroker
) -> None:
    async with trading(replicas.first, broker) as asha:
        broker.break_call("holdings", "slow", seconds=1.0, times=1)
        late = asyncio.create_task(asha.get("/v1/holdings"))
        await received(broker, "holdings")
        broker.expire()
        await asha.sign_in(broker)
        assert (await late).status_code == 200, "refused, and asked once more with the newer token"
        tokens = [each["headers"]["authorization"] for each in broker.received("holdings")]
        assert len(set(tokens)) == len(tokens) == 2
        assert (await asha.get("/v1/session")).json()["broker"]["connected"] is True
        assert (await asha.get("/v1/funds")).status_code == 200


async def test_without_any_notice_a_session_is_gone_within_a_second_all_the_same(
    replicas: Replicas, broker: SimulatedBroker
) -> None:
    async with trading(replicas.first, broker) as desk:
        assert (await desk.get(f"{replicas.second.url}/v1/session")).status_code == 200
        await replicas.store.rows.execute("UPDATE sessions SET ended_at = now(), ended_reason = 'revoked'")
        assert slug(await becomes_signed_out(desk, replicas.second)) == "not-signed-in"


async def test_a_lost_line_for_notices_is_taken_up_again(replicas: Replicas, broker: SimulatedBroker) -> None:
    rows = replicas.store.rows
    listeners = "FROM pg_stat_activity WHERE query ILIKE 'listen%' AND datname = current_database()"

    async def all_hear() -> bool:
        return int(await rows.fetchval(f"SELECT count(*) {listeners}")) == 2

    await until(all_hear)
    await rows.execute(f"SELECT pg_terminate_backend(pid) {listeners}")
    await until(all_hear)


async def test_who_asks_all_the_time_is_out_on_his_own_replica_at_once(
    replicas: Replicas, broker: SimulatedBroker
) -> None:
    """Looks that began before the log-out are not remembered after it."""
    async with trading(replicas.first, broker) as asha, Trader(replicas.first) as thief:
        thief.cookies.set("session", asha.cookies["session"])
        asking = asyncio.gather(*(thief.get("/v1/session") for _ in range(20)))
        assert (await asha.delete("/v1/session")).status_code == 204
        await asking
        assert slug(await thief.get("/v1/session")) == "not-signed-in"


async def test_no_failure_of_the_line_ends_the_listening(sessions_database: str) -> None:
    """A failover in which there is no primary for a moment is none that the driver calls a lost connection."""
    heard: list[str | None] = []
    nowhere = SecretStr(f"{sessions_database}&target_session_attrs=standby")
    listening = asyncio.create_task(keep_hearing(nowhere, changed=heard.append, has_events=heard.append))
    done, _ = await asyncio.wait([listening], timeout=1.5)
    assert not done
    listening.cancel()
    assert heard == []
