"""Doing one thing at the broker, once: the intent is committed, then the call goes out, then its outcome is written.

Between the two transactions nothing is held. Whatever breaks in between leaves an intent behind of which the
reconciler finds out what became; nobody ever sends it again (docs/decisions/0006).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from app import measures
from app.broker.permits import Clearance
from app.broker.verdicts import NOT_SENT, Verdict, refused
from app.clock import monotonic
from app.db import Database, Transaction
from app.limits import Category, Demand, Permit, Urgency
from app.observability import logger
from app.orderbook import store as orderbook
from app.orders import acting_store, store
from app.orders.intents import NOT_STORED, Action, Beginning, Intent, ResolvedBy
from app.orders.judging import find_done, find_done_or_judge
from app.orders.turns import Turns
from app.orders.underway import Underway
from app.orders.wishes import Done, Wish
from app.problems import Problem, TemporarilyUnavailable
from app.safeguards import watches
from app.safeguards.audit import Fact, Held, Ledger
from app.safeguards.halts import refuse_if_halted
from app.safeguards.idempotency import Repeatable
from app.safeguards.ratelimit import RateLimiter
from app.sessions.asking import Investor
from app.settings import Settings
from app.trading import Outcome

_log = logger("orders")

_SEND_WINDOW = timedelta(seconds=2)
"""From the intent to its first byte; later nothing leaves."""
_MARGIN = timedelta(seconds=2)
"""Beyond the deadline, for a sender that still has to write its outcome down."""
_ACCEPTED_LOOK = timedelta(seconds=2)
"""The broker says Ok before its risk system has looked; a late refusal is found by a look at the book."""


class Actor:
    """One replica's hands at the broker."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        ledger: Ledger,
        underway: Underway,
        limiter: RateLimiter,
        acted: Callable[[str], None],
    ) -> None:
        """Take, beside what it works with, whom to tell that something was done in a user's name."""
        self._settings = settings
        self._acted = acted
        self._db = db
        self.ledger = ledger
        self._underway = underway
        self._limiter = limiter
        self._turns = Turns()
        self._patience = settings.broker_order_deadline + _MARGIN

    async def replay(self, investor: Investor, repeatable: Repeatable) -> Done | None:
        """Return what became of an earlier request with this key, none if there was none.

        Raises `IdempotencyKeyReused` for another request, `IdempotencyKeyInUse` while the first may still answer.
        """
        async with self._db.reading() as tx:
            return await find_done(tx, investor.user_id, repeatable)

    async def refuse_halted(self, user_id: str) -> None:
        """Raise `TradingHalted` before anything is read for nothing; it is judged again where it counts."""
        async with self._db.transaction() as tx:
            await refuse_if_halted(tx, user_id)

    async def do(self, investor: Investor, wish: Wish) -> Done:
        """Do it, to the end, whoever hangs up meanwhile.

        Raises, with nothing sent: what `replay` raises, `TradingHalted`, `CapExceeded`, `PlacementUnresolved`,
        `BrokerSessionExpired`, `RateLimited`, `BrokerRateLimited`, `TemporarilyUnavailable`.
        """
        return await self._underway.finish(self._do(investor, wish))

    async def _do(self, investor: Investor, wish: Wish) -> Done:
        intent: Intent | None = None
        try:
            async with self._turns.take(investor.user_id), self._db.transaction() as tx:
                held = await self.ledger.hold(tx, investor.user_id)
                earlier = await find_done_or_judge(tx, investor.user_id, wish, self._settings)
                if earlier:
                    return earlier
                bearer = investor.bearer()
                permit = await self._permit(investor, wish)
                write_by = monotonic() + _SEND_WINDOW.total_seconds()  # before the store's clock begins to count
                intent = await self._intend(tx, held, investor, wish)
        except TemporarilyUnavailable:
            if intent:  # committed perhaps, and only the word of it lost: certainly nothing has been sent, nor will be
                await self._stored(intent, refused(NOT_SENT))
            raise
        verdict = wish.known or await wish.send(Clearance(bearer, permit, write_by), intent.correlation)
        if verdict.is_alarming:
            _log.error("order_call_not_found", action=wish.action, intent=str(intent.id))
        return await self._conclude(investor, intent, verdict)

    async def _permit(self, investor: Investor, wish: Wish) -> Permit:
        """Count the call before the intent is written: what the limits refuse is not remembered.

        The transaction holds nothing of anybody else's meanwhile; the store of permits answers or fails in a second.
        """
        urgency = Urgency.URGENT if wish.action is Action.CANCEL else Urgency.ORDINARY
        demand = Demand(Category.ORDER, investor.user_id, wish.exchanges, urgency)
        return Permit(demand, monotonic()) if wish.known else await self._limiter.take(demand)

    async def _intend(self, tx: Transaction, held: Held, investor: Investor, wish: Wish) -> Intent:
        intent = await acting_store.begin(
            tx,
            Beginning(
                user_id=investor.user_id,
                action=wish.action,
                terms=wish.terms,
                likeness=wish.likeness,
                repeatable=wish.repeatable,
                order_no=wish.order_no,
                send_window=_SEND_WINDOW,
                patience=self._patience,
                is_news=wish.is_news,
            ),
        )
        facts = _flat(intent.wanted) | {"intent": str(intent.id), "correlation": intent.correlation}
        await held.write(f"{wish.action.lower()}-intended", actor=investor.user_id, facts=facts, at=intent.now)
        return intent

    async def _conclude(self, investor: Investor, intent: Intent, verdict: Verdict) -> Done:
        """Write the outcome down; where that can't be done it is unknown to everybody but the log."""
        settled = await self._stored(intent, verdict) or await self._stored(intent, verdict)  # a lost connection is one
        self._acted(investor.user_id)
        if settled is None:
            measures.outcome_not_stored()
            _log.error(
                NOT_STORED, intent=str(intent.id), outcome=verdict.outcome, order_nos=list(verdict.order_nos),
                reason=verdict.reason,
            )  # fmt: skip
            return Done(replace(intent, state=Outcome.UNKNOWN, reason=NOT_STORED))
        is_dead = verdict.is_session_dead and await self._is_token_dead(investor, verdict)
        return replace(settled, is_session_dead=is_dead)

    async def _stored(self, intent: Intent, verdict: Verdict) -> Done | None:
        """Return the intent with its outcome, none where the database is away."""
        try:
            async with self._db.transaction() as tx:
                held = await self.ledger.hold(tx, intent.user_id)  # first, as everywhere: nobody waits in a circle
                return await self._settle(tx, held, intent, verdict)
        except TemporarilyUnavailable:
            return None

    async def _is_token_dead(self, investor: Investor, verdict: Verdict) -> bool:
        """Judge the refused token; an outcome that is written down is told, whatever becomes of that.

        Where nothing could be found out, a doubtful refusal ends no session, and so is not told as one that did.
        """
        try:
            return await investor.is_token_dead(is_doubtful=verdict.is_session_doubted)
        except Problem as problem:
            _log.warning("broker_session_not_judged", user=investor.user_id, reason=problem.slug)  # the next call does
            return not verdict.is_session_doubted

    async def _settle(self, tx: Transaction, held: Held, intent: Intent, verdict: Verdict) -> Done:
        is_seen_through = intent.action is not Action.PLACE and verdict.outcome is Outcome.ACCEPTED
        is_watched = verdict.is_watched and not is_seen_through
        settled = await acting_store.settle(
            tx, intent.id, verdict.outcome, verdict.reason, ResolvedBy.BROKER, is_watched=is_watched
        )
        orders = None
        if intent.action is Action.PLACE and verdict.order_nos:
            orders = await orderbook.attach(
                tx, intent.user_id, intent.trading_day, verdict.order_nos, intent.id, intent.terms["exchange"]
            )
        if is_watched:
            is_urgent = verdict.outcome is Outcome.UNKNOWN
            within = timedelta(seconds=1) if is_urgent else _ACCEPTED_LOOK
            await watches.look_soon(tx, intent.user_id, within, is_urgent=is_urgent)
        if settled is None:  # the reconciler was faster and knows better
            for number in verdict.order_nos:
                facts = {"intent": str(intent.id), "orderNo": number}
                await held.write("order-named-late", actor="service", facts=facts)
            return Done(await store.find_any(tx, intent.id) or intent, orders=orders)
        action, said = _outcome(intent, verdict.outcome, verdict.reason, verdict.order_nos)
        await held.write(action, actor="service", facts=said, at=settled.now)
        return Done(settled, orders=orders)

    async def want_cancelled(self, tx: Transaction, intent: Intent) -> None:
        """Have whatever turns up of an unknown placement cancelled."""
        await self.ledger.write(
            tx, intent.user_id, "cancel-wanted", actor=intent.user_id, facts={"intent": str(intent.id)}
        )
        await store.want_cancelled(tx, intent.id)
        await watches.look_soon(tx, intent.user_id, watches.AT_ONCE, is_urgent=True)

    async def write_outcome(
        self, tx: Transaction, intent: Intent, outcome: Outcome, reason: str | None, order_nos: tuple[str, ...]
    ) -> None:
        """Write into the ledger what became of an intent."""
        action, facts = _outcome(intent, outcome, reason, order_nos)
        await self.ledger.write(tx, intent.user_id, action, actor="service", facts=facts)


def _outcome(
    intent: Intent, outcome: Outcome, reason: str | None, order_nos: tuple[str, ...]
) -> tuple[str, dict[str, Fact]]:
    """Return how the ledger tells what became of an intent: the row's action and facts."""
    named = " ".join(order_nos) or None
    facts: dict[str, Fact] = {"intent": str(intent.id), "outcome": outcome, "reason": reason, "orderNos": named}
    return f"{intent.action.lower()}-outcome", facts


def _flat(terms: Mapping[str, Any]) -> dict[str, str | int | None]:
    return {name: value if isinstance(value, int) else str(value) for name, value in terms.items() if value is not None}
