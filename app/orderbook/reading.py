"""What the broker's book says about an investor's orders, with the placement that each came from."""

from dataclasses import replace

from app.broker.gateway import Gateway
from app.broker.values import drift
from app.broker.wire import BookRow
from app.clock import trading_day
from app.orderbook.recording import Sight, record_sight
from app.orderbook.store import SeenOrder
from app.problems import NotFound
from app.sessions.asking import Investor, Reading


async def ask_for_book(investor: Investor) -> Reading[list[BookRow]]:
    """Return the book as the broker has it now; one that names somebody else is told once, and believed.

    Nobody has documented which of the broker's ids stands there, and a dealer's orders name the dealer.
    """
    reading = await investor.ask(Gateway.order_book)
    if any(row.owners and investor.user_id not in row.owners for row in reading.answer):
        drift("owner", "a row of the book names another id than its user's")
    return reading


async def read_book(investor: Investor) -> Reading[list[BookRow]]:
    """Return the book of the day as the broker has it, and write down what of it is new."""
    reading = await ask_for_book(investor)
    day = trading_day(reading.as_of)
    under = None if investor.version is None else (*investor.version, day.toordinal())
    same: Reading[list[BookRow]] | None = investor.unchanged.recall(investor.user_id, reading.answer, under)
    if same is not None:
        return Reading(same.answer, reading.as_of, same.written)
    sight = Sight(investor.user_id, reading.answer, day, investor.last_event)
    seen = await record_sight(investor.db, sight)
    rows = [_attributed(row, seen.known.get(row.order.order_no or "")) for row in reading.answer]
    told = Reading(rows, reading.as_of)
    if not seen.had_news:
        investor.unchanged.keep(investor.user_id, reading.answer, under, told)
    return told


async def find_row(investor: Investor, order_no: str) -> BookRow:
    """Return the row of one order of the investor's own book as it is now; raises `NotFound`."""
    return row_of((await read_book(investor)).answer, order_no)


def row_of(book: list[BookRow], order_no: str) -> BookRow:
    """Return the row of one order; one that is not in the book is `NotFound`, whoever it belongs to."""
    row = next((each for each in book if each.order.order_no == order_no), None)
    if row is None:
        raise NotFound
    return row


def _attributed(row: BookRow, seen: SeenOrder | None) -> BookRow:
    if seen is None or seen.intent_id is None:
        return row
    order = row.order.model_copy(update={"placement_id": str(seen.intent_id)})
    return replace(row, order=order)
