"""One look at the broker's book: what became of what nobody knew, and what the risk system refused afterwards.

Absence is not refusal. An unknown order turns into a refused one only where the broker has been seen today to echo our
correlation for this user, and clean reads of its own trading day have not shown it for five minutes; whatever shows it
later overrides that. Nothing here sends an order (docs/decisions/0006).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from app import measures
from app.broker.gateway import Gateway
from app.clock import trading_day
from app.db import Database, Transaction
from app.observability import logger
from app.orderbook import store as orderbook
from app.orderbook.attributing import by_correlation, is_clean, recognised, suspects
from app.orderbook.reading import ask_for_book
from app.orderbook.recording import Sight, announce, find_known, write_sight
from app.orderbook.store import SeenOrder
from app.orders import acting_store, store
from app.orders.acting import Actor
from app.orders.following import Found, conversion_outcome, order_outcome
from app.orders.intents import (
    NOT_FOUND_AT_BROKER,
    NOT_IN_THE_BOOK,
    ONE_OF_CANDIDATES,
    SENDER_LOST,
    SENDING,
    TRADING_DAY_OVER,
    Action,
    Intent,
    ResolvedBy,
)
from app.orders.looking import Book, histories_to_read, is_complete, rests_overnight, sought_by
from app.problems import BrokerSessionExpired, Problem
from app.safeguards import watches
from app.safeguards.watches import Claim
from app.sessions.asking import Investor
from app.trading import OrderStatus, Outcome, Position

_log = logger("reconciler")

_ABSENT_FOR = timedelta(minutes=5)
_MOST_HISTORIES = 6  # read in one look; each is a call that somebody else might need
_HISTORIES_DEADLINE = 8.0  # seconds for all of them; what they tell may wait, what the book has shown may not


Cancel = Callable[[list[Intent]], Awaitable[None]]
"""Cancels, of these, whatever was to be cancelled and has turned up."""


class Reconciler:
    """One replica's eyes on the broker's book."""

    def __init__(self, db: Database, actor: Actor) -> None:
        self._db = db
        self._ledger = actor.ledger
        self._actor = actor

    async def look(self, investor: Investor, claimed: Claim, cancel: Cancel) -> list[Intent]:
        """Look after everything of one user that needs it, and `cancel` what was to be cancelled; return what is left.

        Raises `BrokerSessionExpired` and the `Broker…` problems, with everything left as it was.
        """
        intents, now = await self._open_intents(claimed)
        if not intents:
            return []
        try:
            reading = await ask_for_book(investor)
        except BrokerSessionExpired:
            await self._note(intents, BrokerSessionExpired.slug)
            raise
        sight = Sight(claimed.user_id, reading.answer, trading_day(now), investor.last_event)
        book = await self._attribute(claimed, sight, now)
        await self._conclude(claimed, intents, book)  # what the book proves waits for nothing else
        still_open = await self._still_open(investor.user_id)
        await cancel(still_open)
        left = _left_of(intents, still_open)
        if left:
            book = await self._search_histories(investor, left, book)
            positions = await _positions(investor, left)
            await self._conclude(claimed, left, replace(book, is_searched=True, positions=positions))
            still_open = await self._still_open(investor.user_id)
            await cancel(still_open)
        return still_open

    async def _open_intents(self, claimed: Claim) -> tuple[list[Intent], datetime]:
        """Return what is open on this trading day; what a sender left behind is unknown from now on."""
        async with self._db.transaction() as tx:
            now = await self._ledger.lock(tx, claimed.user_id)
            found: list[Intent] = []
            for intent in await store.watched(tx, claimed.user_id):
                current = await self._given_up(tx, intent) if intent.state == SENDING else intent
                if intent.trading_day < trading_day(now) and not rests_overnight(current, now):
                    await _close_day(tx, current)
                else:
                    found.append(current)
        return found, now

    async def _given_up(self, tx: Transaction, intent: Intent) -> Intent:
        settled = await acting_store.settle(
            tx, intent.id, Outcome.UNKNOWN, SENDER_LOST, ResolvedBy.BROKER, is_watched=True
        )
        await self._actor.write_outcome(tx, intent, Outcome.UNKNOWN, SENDER_LOST, ())
        return settled or intent

    async def _attribute(self, claimed: Claim, sight: Sight, as_of: datetime) -> Book:
        """Write down what the book shows, and which order came from which placement where it echoes that."""
        user_id, day, rows, numbers = claimed.user_id, sight.day, sight.rows, sight.numbers
        async with self._db.transaction() as tx:
            known = await find_known(tx, sight)
            correlations = await store.correlations(tx, user_id, day)
            found = by_correlation(rows, known, correlations)
            has_events = await write_sight(tx, sight, known, came_from=found)
            if found and claimed.echo_seen_on != day:
                await watches.remember_echo(tx, user_id, day)
            seen = await orderbook.find_seen(tx, user_id, numbers)
            is_whole = is_clean(rows) and await orderbook.shown_on(tx, user_id, day) <= set(numbers)
        if has_events:
            await announce(self._db, user_id)
        has_echo = bool(found) or claimed.echo_seen_on == day
        return Book(rows, as_of, seen, correlations, has_echo=has_echo, is_whole=is_whole)

    async def _search_histories(self, investor: Investor, intents: list[Intent], book: Book) -> Book:
        """Look for our correlation in the history of orders that may be ours; once found, it is remembered."""
        wanted = histories_to_read(intents, book)[:_MOST_HISTORIES]
        if not wanted:
            return book
        echoed = False
        try:
            async with asyncio.timeout(_HISTORIES_DEADLINE):
                for number in wanted:
                    echoed |= await self._search_history(investor, number, book)
        except TimeoutError:
            _log.info("histories_not_read", reason="deadline")
        async with self._db.reading() as tx:
            seen = await orderbook.find_seen(tx, investor.user_id, book.seen)
        return replace(book, seen=seen, has_echo=book.has_echo or echoed)

    async def _search_history(self, investor: Investor, number: str, book: Book) -> bool:
        """Remember what mark an order's history has; return whether it is one of ours."""
        try:
            echo = (await investor.ask(Gateway.echo, number)).answer
        except BrokerSessionExpired:
            raise
        except Problem as problem:
            _log.info("history_not_read", reason=problem.slug)
            return False
        return echo.has_history and await self._remember_echo(investor.user_id, number, echo.correlation, book)

    async def _remember_echo(self, user_id: str, number: str, correlation: str | None, book: Book) -> bool:
        intent_id = recognised(correlation, book.correlations)
        day = trading_day(book.as_of)
        async with self._db.transaction() as tx:
            await orderbook.remember_history(tx, user_id, number, correlation)
            if intent_id:
                await orderbook.attach(tx, user_id, day, [number], intent_id)
                await watches.remember_echo(tx, user_id, day)
        return intent_id is not None

    async def _conclude(self, claimed: Claim, intents: list[Intent], book: Book) -> None:
        """Settle what the book proves, unless our time is over: another may have looked meanwhile, or a day begun."""
        user_id = claimed.user_id
        looked_for = {each.id for each in intents}
        async with self._db.transaction() as tx:
            now = await self._ledger.lock(tx, user_id)
            if now >= claimed.lease_until or trading_day(now) != trading_day(book.as_of):
                return
            orders = await orderbook.orders_of(tx, looked_for)
            # Read again, now that nobody else can change them: meanwhile a cancel may have been asked for.
            for intent in _left_of(intents, await store.watched(tx, user_id)):
                if intent.action is Action.PLACE:
                    await self._conclude_placement(tx, intent, orders.get(intent.id, []), book)
                    continue
                found = _followed_up(intent, book)
                if found:
                    await self._settle(tx, intent, *found, is_watched=False)

    async def _conclude_placement(self, tx: Transaction, intent: Intent, orders: list[SeenOrder], book: Book) -> None:
        if not orders:
            if intent.state == Outcome.UNKNOWN and book.is_searched:
                await self._weigh_absence(tx, intent, book)
            return
        if intent.state == Outcome.REFUSED:
            measures.refused_order_found()
            _log.error("refused_order_found", intent=str(intent.id), order_nos=[each.order_no for each in orders])
        if intent.state != Outcome.ACCEPTED:
            await self._settle(tx, intent, Outcome.ACCEPTED, None, is_watched=True, orders=orders)
        if is_complete(intent, orders):
            await self._close_accepted(tx, intent, orders)

    async def _close_accepted(self, tx: Transaction, intent: Intent, orders: list[SeenOrder]) -> None:
        """End the watch of what has been seen whole; a refusal that came late goes into the ledger."""
        for order in orders:
            if order.status is OrderStatus.REJECTED:
                facts = {"intent": str(intent.id), "orderNo": order.order_no, "reason": order.rejection_reason}
                await self._ledger.write(tx, intent.user_id, "order-rejected", actor="broker", facts=facts)
        await store.stop_watching(tx, intent.id)

    async def _weigh_absence(self, tx: Transaction, intent: Intent, book: Book) -> None:
        """Count a clean read that does not show the order; refuse only what was absent for long, and with an echo."""
        candidates = suspects(book.rows, book.seen, sought_by(intent))
        counts = book.is_whole and not candidates and book.as_of >= intent.doubtful_at
        absent_since = (intent.absent_since or book.as_of) if counts else None
        if absent_since and book.has_echo and book.as_of - absent_since >= _ABSENT_FOR:
            await self._settle(tx, intent, Outcome.REFUSED, NOT_FOUND_AT_BROKER, is_watched=True)
            return
        reason = ONE_OF_CANDIDATES if candidates else NOT_IN_THE_BOOK
        await store.annotate(tx, intent, candidates=candidates, absent_since=absent_since, reason=reason)

    async def _settle(
        self,
        tx: Transaction,
        intent: Intent,
        outcome: Outcome,
        reason: str | None,
        *,
        is_watched: bool,
        orders: list[SeenOrder] | None = None,
    ) -> None:
        if await acting_store.settle(tx, intent.id, outcome, reason, ResolvedBy.BOOK, is_watched=is_watched):
            numbers = tuple(each.order_no for each in orders or [])
            await self._actor.write_outcome(tx, intent, outcome, reason, numbers)
            _log.info("found_out", intent=str(intent.id), action=intent.action, outcome=outcome, reason=reason)

    async def _note(self, intents: list[Intent], reason: str) -> None:
        """Say of everything unknown why nobody can look at present."""
        async with self._db.transaction() as tx:
            for intent in intents:
                if intent.state == Outcome.UNKNOWN:
                    await store.annotate(tx, intent, reason=reason)

    async def _still_open(self, user_id: str) -> list[Intent]:
        async with self._db.reading() as tx:
            return await store.watched(tx, user_id)


async def _close_day(tx: Transaction, intent: Intent) -> None:
    """Stop looking: the book of another day proves nothing about this one."""
    reason = TRADING_DAY_OVER if intent.outcome is Outcome.UNKNOWN else intent.reason
    await store.annotate(tx, intent, is_watched=False, reason=reason)


async def _positions(investor: Investor, intents: list[Intent]) -> list[Position] | None:
    """Return the positions where a conversion is unknown; none where they are not needed or not to be had."""
    if not any(each.action is Action.CONVERT for each in intents):
        return None
    try:
        return (await investor.ask(Gateway.positions)).answer
    except BrokerSessionExpired:
        raise
    except Problem as problem:
        _log.info("positions_not_read", reason=problem.slug)
        return None


def _followed_up(intent: Intent, book: Book) -> Found | None:
    """Return what became of something that was no placement; what counts as not taken may turn out to have been."""
    if intent.action is Action.CONVERT:
        found = None if book.positions is None else conversion_outcome(intent, book.positions)
    else:
        found = order_outcome(intent, book.rows)
    is_news = found is not None and (intent.outcome is Outcome.UNKNOWN or found[0] is Outcome.ACCEPTED)
    return found if is_news else None


def _left_of(intents: list[Intent], watched: list[Intent]) -> list[Intent]:
    """Return those that are still looked after, as they are now."""
    wanted = {each.id for each in intents}
    return [each for each in watched if each.id in wanted]
