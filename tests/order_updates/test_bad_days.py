"""What goes wrong around streams and sights, each of it seen once by somebody who tried to break them."""

import asyncio
import uuid
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvloop
from pydantic import SecretStr

from app.clock import Clock, monotonic
from app.db import Database
from app.order_updates import looks_store
from app.order_updates.listener import Place
from app.order_updates.listening import Listeners
from tests.support.books import LEASE, NEXT_DAY, Books, row
from tests.support.configured import configured
from tests.support.processes import process
from tests.support.replicas import PUBLIC, Replicas, Trader, locked, trading, until
from tests.support.simulated import SimulatedBroker
from tests.support.streams import PATH, listening

NOWHERE = SecretStr("postgresql://x@127.0.0.1:1/x")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_who_sees_nothing_for_five_seconds_says_so(loop: object) -> None:
    """A database that refuses at once, on a loop whose timers may come a little early."""

    async def blind() -> tuple[str | None, float]:
        listeners = Listeners(Database.open(NOWHERE), Clock(), configured(NOWHERE.get_secret_value(), "http://x"))
        looking, began_at = asyncio.create_task(listeners.run()), monotonic()
        with listeners.joined(Place("AB1234", uuid.uuid4(), 0, 0), 0) as listener:
            while listener.reason is None and monotonic() - began_at < 10:
                with suppress(TimeoutError):
                    await asyncio.wait_for(listener._news.wait(), 0.5)  # noqa: SLF001  # whatever wakes it
        looking.cancel()
        return listener.reason, monotonic() - began_at

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]  # a factory
        reason, seconds = runner.run(blind())
    assert reason == "temporarily-unavailable"
    assert 4 < seconds < 8


async def test_who_joins_a_replica_that_ends_is_sent_on_at_once(
    replicas: Replicas, broker: SimulatedBroker, tmp_path: Path
) -> None:
    """His request was under way when the replica was told to end: it must not wait for him."""
    settings = configured(replicas.database_url, broker.url, PUBLIC)
    async with (
        process(settings, tmp_path / "log", grace=15) as leaving,
        trading(replicas.first, broker) as asha,
    ):
        async with locked(replicas.database_url, "sessions", "ACCESS EXCLUSIVE"):
            opening = asyncio.create_task(_opened(asha, leaving.service.url))
            await _asked_for_a_session(replicas)
            leaving.ask_to_end()
            await until(lambda: _is_refused(leaving.service.url))
        assert "reconnect" in await opening
        await asyncio.to_thread(leaving.wait_for_end)
    assert "Exception" not in leaving.written()


async def test_an_event_that_nobody_can_read_keeps_nobody_from_the_others(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """A later release has written it, while this one still runs."""
    broker.add_investor("ZZ9999")
    async with trading(replicas.first, broker, "ZZ9999") as zoya:
        await zoya.get("/v1/orders")
        async with listening(zoya) as hers, listening(asha) as his:
            await replicas.store.rows.execute(
                "INSERT INTO order_events (user_id, number, order_no, type, shown, changes, seen_at)"
                " SELECT u.id, u.last_event + 1, order_no, 'SQUARED_OFF', shown, '[]', now()"
                " FROM (SELECT * FROM order_events WHERE user_id = 'ZZ9999' LIMIT 1) e, users u WHERE u.id = 'ZZ9999'"
            )
            await replicas.store.rows.execute("UPDATE users SET last_event = last_event + 1 WHERE id = 'ZZ9999'")
            await asha.placed()
            await his.until(1)
            await zoya.placed()
            await hers.until(2)
            assert not hers.is_over
        assert [each["type"] for each in hers.updates] == ["UNKNOWN", "OPEN"]
        assert hers.updates[0]["order"]["orderNo"]
        listed = (await zoya.get("/v1/order-events")).json()["orderEvents"]
        assert listed[-2:] == hers.updates
        assert [each["id"] for each in listed] == list(range(1, len(listed) + 1))


async def test_a_sign_in_in_the_same_browser_sends_its_tabs_to_the_new_session(
    broker: SimulatedBroker, asha: Trader
) -> None:
    async with listening(asha) as stream:
        await asha.sign_in(broker)
        assert await stream.ended(2) == "reconnect"
        async with listening(asha, last_id=stream.last_id):
            pass


async def test_a_database_that_goes_back_in_time_is_told_to_who_listens(replicas: Replicas, asha: Trader) -> None:
    await asha.get("/v1/orders")
    async with listening(asha) as stream:
        await replicas.store.rows.execute("DELETE FROM order_events WHERE number > 3")
        await replicas.store.rows.execute("UPDATE users SET last_event = 3")
        assert await stream.ended(2) == "reconnect"
        async with listening(asha, last_id=stream.last_id) as again:
            await again.until(1, "reset")


async def test_a_request_that_stands_behind_a_stream_keeps_no_place_when_its_connection_ends(
    replicas: Replicas, asha: Trader
) -> None:
    address = urlsplit(replicas.first.url)
    for _ in range(3):  # as one user has a quarter of the places, more would be noticed soon
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(_head(asha, PATH) + _head(asha, "/v1/session"))
        await reader.readuntil(b"event: connected")
        writer.close()

    async def nobody_listens() -> bool:
        tasks = [task for task in asyncio.all_tasks() if "_wait_for_leave" in repr(task.get_coro())]
        return not tasks

    await until(nobody_listens, within=5)


async def test_an_order_that_one_book_leaves_out_is_still_an_open_one(books: Books) -> None:
    user = await books.newcomer()
    await books.record(user, [row(number="1"), row(number="2")], 0)
    await books.record(user, [row("COMPLETE", number="2", filled=10)], 2)
    assert await books.rows.fetchval("SELECT has_open FROM book_looks WHERE user_id = $1", user)


async def test_what_an_older_release_has_seen_first_is_told_all_the_same(books: Books) -> None:
    user = await books.newcomer()
    await books.record(user, [row()], 0)
    await books.rows.execute("UPDATE seen_orders SET status = 'COMPLETE' WHERE user_id = $1", user)
    await books.record(user, [row("COMPLETE", filled=10)], 1)
    assert await books.types(user) == ["OPEN", "FILLED"]


async def test_an_order_out_of_sight_is_told_anew_when_it_is_seen_again(books: Books) -> None:
    """A clock was wrong and a row was missing; or the broker's day ends at another hour."""
    user = await books.newcomer()
    await books.record(user, [row()], 0)
    await books.record(user, [], 1, NEXT_DAY)
    await books.record(user, [], 2, NEXT_DAY)
    await books.record(user, [row(filled=4)], 2, NEXT_DAY)
    await books.record(user, [row("COMPLETE", filled=10)], 3, NEXT_DAY)
    assert await books.types(user) == ["OPEN", "UNKNOWN", "PARTLY_FILLED", "FILLED"]


async def test_a_hint_is_followed_before_all_that_is_only_due(books: Books) -> None:
    db = books.both[0]
    users = [await books.newcomer() for _ in range(20)]
    async with db.transaction() as tx:
        await looks_store.listen(tx, users)
    await books.rows.execute(
        "UPDATE book_looks SET looked_at = now() - interval '1 minute', next_look_at = now() - interval '20 s',"
        " hinted_at = CASE WHEN user_id = $1 THEN now() END WHERE user_id = ANY($2)", users[-1], users
    )  # fmt: skip
    async with db.transaction() as tx:
        [first] = await looks_store.claim(tx, 1, LEASE)
    assert first.user_id == users[-1]


async def test_nobody_looks_at_the_book_of_somebody_who_is_blocked(books: Books) -> None:
    db, user = books.both[0], await books.newcomer()
    await books.record(user, [row()], 0)
    await books.rows.execute("UPDATE book_looks SET next_look_at = now() WHERE user_id = $1", user)
    await books.rows.execute("INSERT INTO blocks VALUES ($1, 'asked for', 'Asha', now())", user)
    async with db.transaction() as tx:
        claimed = await looks_store.claim(tx, 100, timedelta(seconds=25))
    await books.rows.execute("DELETE FROM blocks WHERE user_id = $1", user)
    assert user not in {each.user_id for each in claimed}


async def _asked_for_a_session(replicas: Replicas) -> None:
    async def waits() -> bool:
        return bool(await replicas.store.rows.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await until(waits)


async def _is_refused(url: str) -> bool:
    address = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return True
    writer.close()
    return False


async def _opened(trader: Trader, url: str) -> str:
    answer = await trader.get(f"{url}{PATH}", timeout=20)
    return answer.text


def _head(trader: Trader, path: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Origin: {PUBLIC}", f"Cookie: session={trader.cookies['session']}"]
    return "\r\n".join([*lines, "", ""]).encode()
