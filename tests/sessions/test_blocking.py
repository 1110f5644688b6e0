"""Operators look at users and sessions, and end them, with a reason that stands in the ledger."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.commands import refused, said, typed
from tests.support.environment import environment
from tests.support.investor import Browser, slug
from tests.support.replicas import PUBLIC, Replicas, trading, until
from tests.support.simulated import SimulatedBroker

WHY = ("--reason", "a drill", "--actor", "Meera")


@pytest.fixture
def given(
    sessions_database: str, simulator_process: SimulatedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)  # a developer's .env is none of ours
    return environment(sessions_database, simulator_process.url, PUBLIC)


async def written(rows: asyncpg.Connection, *actions: str) -> list[tuple[str, str, Any]]:
    found = await rows.fetch("SELECT chain, actor, action, facts FROM ledger ORDER BY at")
    return [(row["chain"], row["actor"], json.loads(row["facts"])) for row in found if row["action"] in actions]


async def becomes(browser: Browser, url: str, status: int, kind: str) -> None:
    async def is_so() -> bool:
        answer = await browser.get(url)
        return answer.status_code == status and slug(answer) == kind

    await until(is_so)


async def test_a_blocked_user_is_out_everywhere_and_does_not_get_in_again(
    replicas: Replicas, broker: SimulatedBroker, given: dict[str, str]
) -> None:
    async with trading(replicas.first, broker) as asha, trading(replicas.second, broker, "FO5678") as other:
        for replica in replicas.both:
            assert (await asha.get(f"{replica.url}/v1/session")).status_code == 200
        told = await said("users", "block", "--user", "ab1234", *WHY, given=given)
        assert told == "AB1234 is blocked; 1 session ended."
        for replica in replicas.both:
            await becomes(asha, f"{replica.url}/v1/session", 403, "user-blocked")
        placed = await asha.place()
        assert (placed.status_code, slug(placed)) == (403, "user-blocked")
        again = await asha.sign_in(broker)
        assert (again.status_code, slug(again)) == (403, "user-blocked")
        assert (await other.get("/v1/session")).status_code == 200
        assert broker.received("place") == []
        assert await said("users", "block", "--user", "AB1234", *WHY, given=given) == (
            "AB1234 was blocked already; 0 sessions ended."
        )
        assert await said("users", "unblock", "--user", "AB1234", *WHY, given=given) == "AB1234 may sign in again."
        await becomes(asha, "/v1/session", 401, "not-signed-in")
        assert (await asha.sign_in(broker)).status_code == 303
        assert (await asha.get("/v1/session")).status_code == 200
    assert await refused("users", "unblock", "--user", "AB1234", *WHY, given=given) == "AB1234 was not blocked."
    facts = {"reason": "a drill", "sessions": 1}
    assert await written(replicas.store.rows, "blocked", "unblocked") == [
        ("AB1234", "Meera", facts), ("AB1234", "Meera", facts | {"sessions": 0}),
        ("AB1234", "Meera", {"reason": "a drill"}),
    ]  # fmt: skip


async def test_whoever_does_something_is_looked_up_anew(replicas: Replicas, broker: SimulatedBroker) -> None:
    """The block is written without a word to anybody, as if the notice had been lost."""
    async with trading(replicas.first, broker) as asha:
        await asha.placed()
        assert (await asha.get("/v1/session")).status_code == 200, "which is remembered now"
        await replicas.store.rows.execute("INSERT INTO blocks VALUES ('AB1234', 'a drill', 'Meera', now())")
        placed = await asha.place(quantity=20)
        assert (placed.status_code, slug(placed)) == (403, "user-blocked")
        assert len(broker.received("place")) == 1


async def test_a_block_between_the_door_and_the_intent_stops_the_order(
    replicas: Replicas, broker: SimulatedBroker, sessions_database: str
) -> None:
    """The order waits for the user's chain of the ledger while he is blocked."""
    async with trading(replicas.first, broker) as asha:
        await asha.placed()
        holder = await asyncpg.connect(sessions_database)
        try:
            async with holder.transaction():
                await holder.execute("SELECT 1 FROM ledger_heads WHERE chain = 'AB1234' FOR UPDATE")
                placing = asyncio.create_task(asha.place(quantity=20))

                async def waits() -> bool:
                    return bool(await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

                await until(waits)
                await replicas.store.rows.execute("INSERT INTO blocks VALUES ('AB1234', 'a drill', 'Meera', now())")
            placed = await placing
        finally:
            await holder.close()
        assert (placed.status_code, slug(placed)) == (403, "user-blocked")
        assert len(broker.received("place")) == 1


async def test_a_stranger_can_be_blocked_before_he_comes(
    replicas: Replicas, broker: SimulatedBroker, given: dict[str, str]
) -> None:
    told = await said("users", "block", "--user", "FO5678", *WHY, given=given)
    assert told == "FO5678 is blocked; 0 sessions ended. Mind that FO5678 has never signed in here."
    async with Browser(replicas.first) as browser:
        answer = await browser.sign_in(broker, "FO5678")
        assert (answer.status_code, slug(answer)) == (403, "user-blocked")
        assert "session" not in browser.cookies
    assert await replicas.store.rows.fetchval("SELECT count(*) FROM broker_sessions") == 0


async def test_an_unknown_order_of_a_blocked_user_is_still_looked_after(
    replicas: Replicas, broker: SimulatedBroker, given: dict[str, str]
) -> None:
    """A sign-in at the broker kills the token that looks after it; the new one takes its place, and he stays out."""
    async with trading(replicas.first, broker) as asha:
        broker.order_switches(shownAfterSeconds=600)
        broker.break_call("place", "hanging", times=1, after=True)
        placed = await asha.place()
        assert placed.status_code == 202
        await said("users", "block", "--user", "AB1234", *WHY, given=given)
        again = await asha.sign_in(broker)
        assert (again.status_code, slug(again)) == (403, "user-blocked")
    broker.clear_order_switches()
    placement_id = placed.json()["placementId"]

    async def is_found() -> bool:
        await replicas.store.ask_for_a_look()
        return bool((await replicas.store.intent(placement_id))["state"] == "accepted")

    await until(is_found)


async def test_a_block_that_comes_while_somebody_signs_in_leaves_no_session_behind(
    replicas: Replicas, broker: SimulatedBroker, given: dict[str, str], sessions_database: str
) -> None:
    async with trading(replicas.first, broker) as asha, Browser(replicas.second) as late:
        await late.begin_login()
        holder = await asyncpg.connect(sessions_database)
        try:
            async with holder.transaction():
                await holder.execute("SELECT 1 FROM ledger_heads WHERE chain = 'AB1234' FOR UPDATE")
                coming = asyncio.create_task(late.come_back(broker.code_for("AB1234")))

                async def waits() -> bool:
                    return bool(await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

                await until(waits)
                await replicas.store.rows.execute("INSERT INTO blocks VALUES ('AB1234', 'a drill', 'Meera', now())")
            answer = await coming
        finally:
            await holder.close()
        assert (answer.status_code, slug(answer)) == (403, "user-blocked")
        await said("users", "unblock", "--user", "AB1234", *WHY, given=given)
        assert slug(await late.get("/v1/session")) == "not-signed-in"
        assert asha.cookies["session"]


async def test_users_are_listed_and_shown(replicas: Replicas, broker: SimulatedBroker, given: dict[str, str]) -> None:
    assert await said("users", "list", given=given) == "Nobody has signed in yet."
    async with (
        trading(replicas.first, broker),
        trading(replicas.first, broker),
        trading(replicas.first, broker, "FO5678"),
    ):
        lines = (await said("users", "list", given=given)).splitlines()
        assert [line.split(":")[0] for line in lines] == ["FO5678 (Farhan Qureshi)", "AB1234 (Asha Menon)"], lines
        assert "on 2 devices now, connected." in lines[1]
        shown = await said("users", "show", "--user", "AB1234", given=given)
        machine = json.loads(await said("users", "show", "--user", "AB1234", "--json", given=given))
        assert await said("users", "show", "--user", "ZZ9", given=given) == "ZZ9 has never signed in here."
    assert "His session at the broker ends at " in shown
    assert shown.count("at 127.0.0.0/24") == 2
    assert (machine["users"][0]["devices"], machine["blocks"], len(machine["sessions"])) == (2, [], 2)
    assert machine["brokerSession"]["endedReason"] is None


async def test_sessions_are_listed_and_revoked(
    replicas: Replicas, broker: SimulatedBroker, given: dict[str, str]
) -> None:
    assert await said("sessions", "list", given=given) == "Nobody is signed in."
    async with trading(replicas.first, broker) as asha, trading(replicas.second, broker, "FO5678") as other:
        for each in (asha, other):
            for replica in replicas.both:
                assert (await each.get(f"{replica.url}/v1/session")).status_code == 200
        listed = json.loads(await said("sessions", "list", "--json", given=given))["sessions"]
        assert {each["user"] for each in listed} == {"AB1234", "FO5678"}
        assert len((await said("sessions", "list", "--user", "AB1234", given=given)).splitlines()) == 1
        told = await said("sessions", "revoke", "--user", "AB1234", *WHY, given=given)
        assert told == "1 session of AB1234 ended."
        for replica in replicas.both:
            await becomes(asha, f"{replica.url}/v1/session", 401, "not-signed-in")
            assert (await other.get(f"{replica.url}/v1/session")).status_code == 200
        assert await said("sessions", "revoke", "--all", *WHY, given=given) == "1 session of everybody ended."
        for replica in replicas.both:
            await becomes(other, f"{replica.url}/v1/session", 401, "not-signed-in")
        assert (await asha.sign_in(broker)).status_code == 303
    assert await written(replicas.store.rows, "sessions-revoked") == [
        ("AB1234", "Meera", {"reason": "a drill", "sessions": 1}),
        ("system", "Meera", {"reason": "a drill", "sessions": 1}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [("sessions", "revoke", *WHY), ("sessions", "revoke", "--all", "--user", "AB1", *WHY), ("users", "block", *WHY),
     ("users", "block", "--user", "AB1", "--actor", "Meera"), ("sessions", "revoke", "--all", "--reason", "why")],
)  # fmt: skip
async def test_what_is_not_clear_is_asked_again(given: dict[str, str], arguments: tuple[str, ...]) -> None:
    assert (await typed(*arguments, given=given)).exit_code == 2
