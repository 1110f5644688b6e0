"""What may not be sent, whoever asks: refused with its place, before anything is remembered."""

from collections.abc import Iterator

from app.ordering import Conversion, OrderTerms
from app.problems import InvalidRequest
from app.sessions.asking import Caller
from app.settings import Settings
from app.trading import Refusal


def refuse(refusals: Iterator[Refusal]) -> None:
    """Raise `InvalidRequest` with all that is wrong, if anything is."""
    if errors := [each._asdict() for each in refusals]:
        raise InvalidRequest(errors=errors)


def allowance_refusals(terms: OrderTerms, caller: Caller, settings: Settings) -> Iterator[Refusal]:
    """Yield what this investor or this deployment may not send; where his profile was never read, the broker judges."""
    yield from _exchange_refusals(terms.exchange, caller, settings)
    yield from _product_refusals("/product", terms.product, caller)
    if terms.is_at_market and settings.market_orders == "refuse":
        yield Refusal("/orderType", f"{terms.order_type} is not enabled here; give a limit price")


def conversion_allowance_refusals(conversion: Conversion, caller: Caller, settings: Settings) -> Iterator[Refusal]:
    """Yield what of a conversion this investor or this deployment may not send."""
    yield from _exchange_refusals(conversion.exchange, caller, settings)
    yield from _product_refusals("/toProduct", conversion.to_product, caller)


def _exchange_refusals(exchange: str, caller: Caller, settings: Settings) -> Iterator[Refusal]:
    known = caller.session.exchanges
    if exchange == "MCX" and not settings.allow_mcx:
        yield Refusal("/exchange", "MCX is not enabled here")  # lots or units: docs/broker.md, "Open questions"
    elif known and exchange not in known:
        yield Refusal("/exchange", f"is not open to this account, which has {', '.join(known)}")


def _product_refusals(pointer: str, product: str, caller: Caller) -> Iterator[Refusal]:
    known = caller.session.products
    if known and product not in known:
        yield Refusal(pointer, f"is not open to this account, which has {', '.join(known)}")
