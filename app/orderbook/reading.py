"""What the broker's book says about an investor's orders."""

from app.broker.gateway import Gateway
from app.problems import NotFound
from app.sessions.asking import Investor
from app.trading import OrderWithHistory


async def order_with_history(investor: Investor, order_no: str) -> OrderWithHistory:
    """Return one order of the investor's own book with its history.

    An order number that is not in his book is `NotFound`, whoever it belongs to, and no history is asked for.
    """
    book = await investor.ask(Gateway.order_book)
    order = next((each for each in book.answer if each.order_no == order_no), None)
    if order is None:
        raise NotFound
    history = await investor.ask(Gateway.order_history, investor.session.user_id, order_no)
    return OrderWithHistory(**dict(order), history=history.answer)
