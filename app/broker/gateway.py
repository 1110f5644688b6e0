"""The calls we make to the broker, each as a function of a token and nothing else that could go wrong quietly."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from math import ceil
from typing import TypeVar

from pydantic import SecretStr

from app import measures
from app.broker import order_entry, wire
from app.broker.answers import Row, no_rows, read_rows, told_wait
from app.broker.books import KnownBooks
from app.broker.breakers import Ending
from app.broker.checksum import checksum
from app.broker.defences import Defences
from app.broker.errors import BrokerRefused, NotSent, WrongPath
from app.broker.login import BrokerLogin, read_login
from app.broker.paths import Call, Paths, RouteClass
from app.broker.permits import Bearer, Clearance, Meter
from app.broker.transport import Answer, Transport
from app.broker.verdicts import LIMITED, NOT_SENT, Proof, Verdict, refused, unknown, verdict_of
from app.broker.wire import BookRow
from app.limits import Category, Demand
from app.ordering import Conversion, OrderTerms
from app.problems import (
    BrokerFault,
    BrokerRateLimited,
    BrokerSessionExpired,
    BrokerTimeout,
    BrokerUnavailable,
    OrderRefused,
    Problem,
    RateLimited,
    TemporarilyUnavailable,
)
from app.trading import Funds, Holding, Margin, OrderState, Outcome, Position, Profile, Trade

T = TypeVar("T")

_SLUGS = frozenset({NOT_SENT, RateLimited.slug, BrokerRateLimited.slug, BrokerSessionExpired.slug})
"""Reasons of ours why an order call was refused; all others are the broker's own words."""


@dataclass(frozen=True)
class Manner:
    """How long we wait for the broker and for how many calls, and what of an order is a matter of settings."""

    read_deadline: timedelta
    order_deadline: timedelta
    correlation_field: str
    market_protection: Decimal | None
    calls_in_flight: int = 64
    """Of one class, in one process."""
    breaker_failures: int = 5
    """In a row, until a class is left alone for a moment; 0 = never."""


@dataclass(frozen=True)
class Echo:
    """What an order's history says of the correlation that it was placed with."""

    has_history: bool
    correlation: str | None


class Gateway:
    """The broker, as far as this service needs it. Every method sends one request, or one for each path tried."""

    def __init__(self, transport: Transport, paths: Paths, api_secret: SecretStr, manner: Manner, meter: Meter) -> None:
        self._transport = transport
        self._meter = meter
        self._paths = paths
        self._api_secret = api_secret
        self._manner = manner
        self._books = KnownBooks(manner.correlation_field)
        self._defences = Defences(room=manner.calls_in_flight, failures=manner.breaker_failures)

    async def exchange(self, user_id: str, auth_code: str) -> BrokerLogin:
        """Spend an auth code for a session; both arguments exactly as the browser brought them.

        The next path is tried only where the broker says that there is no such call; after any other answer, a
        time-out included, the code is never sent again. Raises `LoginRefused` with the broker's words, `UserMismatch`,
        `TemporarilyUnavailable` with nothing sent, and the `Broker…` problems.
        """
        proof = checksum(user_id, auth_code, self._api_secret)
        demand = Demand(Category.NON_TRADING)  # nobody is proven yet, so it counts against nobody
        return await self._defences.ask(
            RouteClass.EXCHANGE,
            demand,
            self._manner.read_deadline,
            lambda: self._exchange_somewhere(proof, user_id, demand),
        )

    async def _exchange_somewhere(self, proof: SecretStr, user_id: str, demand: Demand) -> BrokerLogin:
        body = {"checkSum": proof.get_secret_value()}
        for path in self._paths.exchange():
            answer = await self._transport.send(
                "POST", path, demand=demand, body=body, is_alone=True, route=RouteClass.EXCHANGE
            )
            try:
                login = read_login(answer, user_id)
            except WrongPath:
                continue
            except BrokerFault:
                measures.answer_not_understood(RouteClass.EXCHANGE)
                raise
            except BrokerRateLimited as problem:
                raise await self._limited(demand, answer) from problem
            self._paths.exchange_worked(path)
            return login
        raise BrokerFault("The broker knows none of the calls at which an auth code could be exchanged.")

    async def profile(self, bearer: Bearer) -> Profile:
        return await self._read(Call.PROFILE, bearer, wire.profile)

    async def funds(self, bearer: Bearer) -> Funds:
        return await self._read(Call.FUNDS, bearer, wire.funds)

    async def holdings(self, bearer: Bearer) -> list[Holding]:
        return await self._read(Call.HOLDINGS, bearer, wire.holdings)

    async def positions(self, bearer: Bearer) -> list[Position]:
        return await self._read(Call.POSITIONS, bearer, lambda rows: [wire.position(row) for row in rows])

    async def order_book(self, bearer: Bearer) -> list[BookRow]:
        """Return the rows of the book, the very same list where it has not changed; nobody may change it."""
        return await self._ask(Call.ORDER_BOOK, bearer, lambda answer: self._books.rows(bearer.user_id, answer))

    async def trade_book(self, bearer: Bearer) -> list[Trade]:
        return await self._read(Call.TRADE_BOOK, bearer, lambda rows: [wire.trade(row) for row in rows])

    async def order_history(self, bearer: Bearer, order_no: str) -> list[OrderState]:
        """Return every step of one order, the newest first as the broker lists them."""
        return await self._history(bearer, order_no, lambda rows: [wire.order_state(row) for row in rows])

    async def echo(self, bearer: Bearer, order_no: str) -> Echo:
        """Return whether an order has a history, and what correlation the broker echoes there."""
        field = self._manner.correlation_field
        return await self._history(bearer, order_no, lambda rows: Echo(bool(rows), wire.echoed(rows, order_no, field)))

    async def margin(self, bearer: Bearer, terms: OrderTerms) -> Margin:
        """Return what an order would need; nothing is placed."""
        return await self._read(Call.MARGIN, bearer, order_entry.margin, body=order_entry.margin_body(terms))

    async def place(self, clearance: Clearance, terms: OrderTerms, correlation: str | None) -> Verdict:
        """Send one order, once."""
        field = self._manner.correlation_field
        echoed = {field: correlation} if field and correlation else {}
        item = order_entry.place_item(terms, self._manner.market_protection, echoed)
        return await self._act(Call.PLACE, clearance, [item], Proof.NEW_NUMBER)

    async def modify(self, clearance: Clearance, order_no: str, terms: OrderTerms) -> Verdict:
        """Send the whole state that an open order is to have, once."""
        body = order_entry.change_body(order_no, terms, self._manner.market_protection)
        return await self._act(Call.MODIFY, clearance, body)

    async def cancel(self, clearance: Clearance, order_no: str) -> Verdict:
        """Send one cancel, once; accepted means that the broker works on it, the book says how it ends."""
        return await self._act(Call.CANCEL, clearance, [order_entry.cancel_item(order_no)])

    async def convert(self, clearance: Clearance, conversion: Conversion) -> Verdict:
        """Send one conversion of a position, once."""
        return await self._act(Call.CONVERT, clearance, order_entry.conversion_body(conversion), Proof.OK)

    async def subscribe(self, bearer: Bearer, callback_url: SecretStr) -> None:
        """Have the broker post to an address whenever an order of the user's changes; raises as a read does."""
        await self._tell(Call.SUBSCRIBE, bearer, callback_url)

    async def unsubscribe(self, bearer: Bearer, callback_url: SecretStr) -> None:
        """Have it post there no more; raises as a read does."""
        await self._tell(Call.UNSUBSCRIBE, bearer, callback_url)

    async def _tell(self, call: Call, bearer: Bearer, callback_url: SecretStr) -> None:
        body = {"callbackUrl": callback_url.get_secret_value()}
        await self._ask(call, bearer, no_rows, body)

    async def _act(
        self, call: Call, clearance: Clearance, body: object, proof: Proof = Proof.OK_WITH_NUMBER
    ) -> Verdict:
        leave = self._defences.begin_act(clearance.bearer.user_id)
        verdict, ending = await self._acted(call, clearance, body, proof)
        self._defences.end_act(leave, ending)
        measures.order_call_ended(call.name.lower(), _told_of(verdict))
        return verdict

    async def _acted(self, call: Call, clearance: Clearance, body: object, proof: Proof) -> tuple[Verdict, Ending]:
        [path] = self._paths.of(call)
        try:
            answer = await self._transport.send_once(
                call.method, path, clearance=clearance, body=body, deadline=self._manner.order_deadline,
                route=call.route_class,
            )  # fmt: skip
        except NotSent as stopped:
            return refused(NOT_SENT), Ending.FAILED if stopped.is_brokers else Ending.NEITHER
        except TemporarilyUnavailable:  # of the store of permits
            return refused(NOT_SENT), Ending.NEITHER
        except (RateLimited, BrokerRateLimited) as problem:  # its permit had grown old, and there was no other
            return refused(problem.slug), Ending.NEITHER
        except (BrokerTimeout, BrokerUnavailable, BrokerFault) as problem:
            return unknown(problem.slug), Ending.FAILED
        verdict = verdict_of(answer, proof)
        if verdict is LIMITED:
            await self._meter.pause(clearance.permit.demand, told_wait(answer))
        return verdict, _ending_of(verdict)

    async def _limited(self, demand: Demand, answer: Answer) -> BrokerRateLimited:
        """Return what the broker's word about its limit comes to, with the pause that it begins."""
        seconds = await self._meter.pause(demand, told_wait(answer))
        return BrokerRateLimited(headers={"Retry-After": str(max(ceil(seconds), 1))})

    async def _history(self, bearer: Bearer, order_no: str, understand: Callable[[list[Row]], T]) -> T:
        question = {"orderNo": order_no, "userId": bearer.user_id}
        return await self._read(Call.ORDER_HISTORY, bearer, understand, body=question)

    async def _read(
        self,
        call: Call,
        bearer: Bearer,
        understand: Callable[[list[Row]], T],
        body: object = None,
    ) -> T:
        """Ask for rows; raises what `_ask` does."""
        return await self._ask(call, bearer, lambda answer: understand(read_rows(answer)), body)

    async def _ask(self, call: Call, bearer: Bearer, understand: Callable[[Answer], T], body: object = None) -> T:
        """Ask a question that may be asked again: at each known path until one exists, the one that worked first.

        All of it within one deadline. Raises `BrokerSessionDead`, the `Broker…` problems, `TemporarilyUnavailable`, and
        what the meter does.
        """
        user_id = bearer.user_id if bearer.is_proven else None
        demand = Demand(call.category, user_id, urgency=bearer.urgency)
        try:
            return await self._defences.ask(
                call.route_class,
                demand,
                self._manner.read_deadline,
                lambda: self._ask_somewhere(call, bearer, demand, understand, body),
                is_repeatable=call.route_class is not RouteClass.WEBHOOKS,
            )
        except BrokerRefused as refusal:
            raise _no_to(call, refusal.words) from refusal
        except WrongPath as error:
            raise BrokerFault("The broker knows none of the paths of this call.") from error

    async def _ask_somewhere(
        self, call: Call, bearer: Bearer, demand: Demand, understand: Callable[[Answer], T], body: object
    ) -> T:
        for path in self._paths.of(call):
            answer = await self._transport.send(
                call.method, path, demand=demand, bearer=bearer.token, body=body, route=call.route_class
            )
            try:
                understood = understand(answer)
            except WrongPath:
                continue
            except BrokerFault:
                measures.answer_not_understood(call.route_class)
                raise
            except BrokerRateLimited as problem:
                raise await self._limited(demand, answer) from problem
            except BrokerUnavailable as problem:
                if wait := told_wait(answer):
                    problem.headers["Retry-After"] = str(ceil(wait))
                raise
            self._paths.worked(call, path)
            return understood
        raise WrongPath


def _ending_of(verdict: Verdict) -> Ending:
    """Return what the verdict on an answer says of the broker: a refusal is an answer, a limit says nothing."""
    if verdict.outcome is Outcome.UNKNOWN:
        return Ending.FAILED
    return Ending.NEITHER if verdict is LIMITED else Ending.ANSWERED


def _told_of(verdict: Verdict) -> str:
    """Return in one of few words what an order call came to; a refusal that rests on an assumption is doubtful."""
    if verdict.outcome is not Outcome.REFUSED:
        return verdict.outcome.lower()
    if verdict.reason in _SLUGS:
        return str(verdict.reason)
    return "doubtful" if verdict.is_watched else "refused"


def _no_to(call: Call, words: str) -> Problem:
    """Return what the broker's no to a question means: to the terms of an order it is about them, else a fault."""
    detail = f"The broker says: {words}"
    return OrderRefused(detail, reason=words) if call is Call.MARGIN else BrokerFault(detail)
