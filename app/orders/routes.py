"""What became of the investor's orders, as the broker's books show it."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import AwareDatetime

from app.broker.gateway import Gateway
from app.orderbook.reading import order_with_history
from app.problems import BROKER_READ, InvalidRequest, NotFound, answers
from app.sessions.current import SignedIn
from app.trading import Model, Order, OrderWithHistory, Trade

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


@router.get("/orders", responses=answers(*BROKER_READ))
async def list_orders(*, investor: SignedIn) -> OrderList:
    """List the orders of the day as the broker's book has them."""
    reading = await investor.ask(Gateway.order_book)
    return OrderList(orders=reading.answer, as_of=reading.as_of)


@router.get("/orders/{orderNo}", responses=answers(*BROKER_READ, NotFound, InvalidRequest))  # noqa: FAST003  # read by its alias
async def read_order(*, investor: SignedIn, order_no: OrderNo) -> OrderWithHistory:
    """Read one order of the day and every step of it, the newest first."""
    return await order_with_history(investor, order_no)


@router.get("/trades", responses=answers(*BROKER_READ))
async def list_trades(*, investor: SignedIn) -> TradeList:
    """List the fills of the day."""
    reading = await investor.ask(Gateway.trade_book)
    return TradeList(trades=reading.answer, as_of=reading.as_of)
