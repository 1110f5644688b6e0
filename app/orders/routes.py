"""Orders: the broker's books as they stand, and everything that may be done to them."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import AwareDatetime

from app.broker.gateway import Gateway
from app.dependencies import State
from app.orderbook import reading as orderbook
from app.ordering import Conversion, NewOrder, OrderChange, OrderTerms, price_refusals
from app.orders.acting import Actor
from app.orders.changing import cancel_all, cancel_order, modify_order
from app.orders.converting import convert_position
from app.orders.placing import place_order
from app.orders.refusing import refuse
from app.orders.schemas import Cancellations, Placement
from app.orders.telling import cancelled, told
from app.orders.wishes import Done
from app.problem_answers import BROKER_ACT, BROKER_READ, NEW_RISK, answers, may_stay_unknown
from app.problems import CrossSiteRequest, InvalidRequest, NotFound, OrderRefused, PlacementUnresolved
from app.safeguards.idempotency import read_key, required
from app.sessions.asking import asking
from app.sessions.current import Shared, SignedIn
from app.sessions.sharing import BOOK
from app.trading import Margin, Model, Order, OrderWithHistory, Trade

router = APIRouter(prefix="/v1", tags=["orders"])

OrderNo = Annotated[
    str, Path(alias="orderNo", pattern=r"^[0-9A-Za-z-]{1,32}$", description="As the order book shows it")
]


class OrderList(Model):
    """The order book of the day, and the moment (UTC) at which the broker was asked."""

    orders: list[Order]
    as_of: AwareDatetime


class TradeList(Model):
    """The trade book of the day, and the moment (UTC) at which the broker was asked."""

    trades: list[Trade]
    as_of: AwareDatetime


async def actor_of(request: Request) -> Actor:
    """Return this process's hands at the broker."""
    return cast("Actor", request.state.actor)


async def optional_key(
    request: Request,
    _key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 printable ASCII characters: a fresh one for each thing meant, the same for a repeat",
            examples=["7c1de0a6-3e0f-4f4a-9d3c-0a7f5a1c9b52"],
        ),
    ] = None,
) -> str | None:
    """Return the key by which a repeated request is known, if there is one."""
    return read_key(request.headers.getlist("idempotency-key"))


async def needed_key(key: Annotated[str | None, Depends(optional_key)]) -> str:
    """Return the key; raises `IdempotencyKeyMissing`."""
    return required(key)


ActorOf = Annotated[Actor, Depends(actor_of)]
OptionalKey = Annotated[str | None, Depends(optional_key)]
NeededKey = Annotated[str, Depends(needed_key)]


@router.get("/orders", responses=answers(*BROKER_READ))
async def list_orders(shared: Shared) -> OrderList:
    """List the orders of the day as the broker's book has them."""
    book = await shared.read(BOOK, orderbook.read_book)
    return OrderList(orders=[row.order for row in book.answer], as_of=book.as_of)


@router.post(
    "/orders",
    status_code=201,
    responses=may_stay_unknown(Placement) | answers(*BROKER_ACT, *NEW_RISK, PlacementUnresolved),
)
async def place(
    *, investor: SignedIn, state: State, actor: ActorOf, response: Response, key: NeededKey, order: NewOrder
) -> Placement:
    """Place one order, once, however often it is sent with the same key."""
    done = await place_order(actor, investor, state["settings"], order, key)
    return await _tell(response, done, state)


@router.delete("/orders", responses=answers(*BROKER_READ, CrossSiteRequest))
async def cancel_open_orders(*, investor: SignedIn, actor: ActorOf) -> Cancellations:
    """Cancel every open order of the day, whoever placed it, and say of each what became of it."""
    return Cancellations(cancellations=cancelled(await cancel_all(actor, investor)))


@router.post("/orders/margin", responses=answers(*BROKER_READ, InvalidRequest, OrderRefused, CrossSiteRequest))
async def preview_margin(*, investor: SignedIn, terms: OrderTerms) -> Margin:
    """Ask what an order would need; nothing is placed."""
    refuse(price_refusals(terms))
    return (await investor.ask(Gateway.margin, terms)).answer


@router.get("/orders/{orderNo}", responses=answers(*BROKER_READ, NotFound, InvalidRequest))
async def read_order(*, shared: Shared, order_no: OrderNo) -> OrderWithHistory:
    """Read one order of the day and every step of it, the newest first."""
    book = await shared.read(BOOK, orderbook.read_book)
    row = orderbook.row_of(book.answer, order_no)  # before a history is asked for: it may be somebody else's
    history = await shared.read("history", asking(Gateway.order_history, order_no), about=order_no)
    return OrderWithHistory(**dict(row.order), history=history.answer)


@router.patch(
    "/orders/{orderNo}", responses=may_stay_unknown(Placement) | answers(*BROKER_ACT, *NEW_RISK, *BROKER_READ, NotFound)
)
async def modify(
    *,
    investor: SignedIn,
    state: State,
    actor: ActorOf,
    response: Response,
    key: NeededKey,
    order_no: OrderNo,
    change: OrderChange,
) -> Placement:
    """Change an open order; what the body does not name stays as it is."""
    done = await modify_order(actor, investor, state["settings"], order_no, change, key)
    return await _tell(response, done, state)


@router.delete(
    "/orders/{orderNo}", responses=may_stay_unknown(Placement) | answers(*BROKER_ACT, *BROKER_READ, NotFound)
)
async def cancel(
    *, investor: SignedIn, state: State, actor: ActorOf, response: Response, key: OptionalKey, order_no: OrderNo
) -> Placement:
    """Cancel an open order; safe to repeat, with or without a key."""
    return await _tell(response, await cancel_order(actor, investor, order_no, key), state)


@router.get("/trades", responses=answers(*BROKER_READ))
async def list_trades(shared: Shared) -> TradeList:
    """List the fills of the day."""
    reading = await shared.read("trades", asking(Gateway.trade_book))
    return TradeList(trades=reading.answer, as_of=reading.as_of)


@router.post(
    "/positions/convert", tags=["portfolio"], responses=may_stay_unknown(Placement) | answers(*BROKER_ACT, *NEW_RISK)
)
async def convert(
    *, investor: SignedIn, state: State, actor: ActorOf, response: Response, key: NeededKey, conversion: Conversion
) -> Placement:
    """Convert a position, or a part of it, from one product to another."""
    return await _tell(response, await convert_position(actor, investor, state["settings"], conversion, key), state)


async def _tell(response: Response, done: Done, state: State) -> Placement:
    outcome = await told(done, state["db"], state["settings"])
    response.status_code = outcome.status
    response.headers.update(outcome.headers)
    return outcome.placement
