"""Placing one order: what may not be sent is refused before anything is, the rest is sent once."""

from collections.abc import Iterator

from pydantic import SecretStr

from app.broker.verdicts import Verdict
from app.ordering import NewOrder, OrderTerms, canonical, price_refusals
from app.orders.acting import Actor, Done, Risk, Wish
from app.orders.intents import Action, likeness
from app.problems import InvalidRequest
from app.safeguards.idempotency import repeatable
from app.sessions.asking import Caller
from app.settings import Settings
from app.trading import Refusal


async def place_order(actor: Actor, caller: Caller, settings: Settings, order: NewOrder, key: str) -> Done:
    """Place one order; raises `InvalidRequest`, and what `Actor.do` raises."""
    refuse(price_refusals(order))
    request = repeatable(key, "POST", "/v1/orders", canonical(order))
    if earlier := await actor.replay(caller, request):
        return earlier
    refuse(allowance_refusals(order, caller, settings))
    terms = order.terms

    async def send(token: SecretStr, correlation: str | None, write_by: float) -> Verdict:
        return await caller.gateway.place(token, terms, correlation, write_by)

    wish = Wish(
        action=Action.PLACE,
        terms=terms.model_dump(mode="json"),
        send=send,
        likeness=likeness(canonical(terms)),
        risk=Risk(terms.quantity, terms.value, is_new_order=True),
        repeatable=request,
        refuses_twin=not order.allow_duplicate,
    )
    return await actor.do(caller, wish)


def refuse(refusals: Iterator[Refusal]) -> None:
    """Raise `InvalidRequest` with all that is wrong, if anything is."""
    if errors := [each._asdict() for each in refusals]:
        raise InvalidRequest(errors=errors)


def allowance_refusals(terms: OrderTerms, caller: Caller, settings: Settings) -> Iterator[Refusal]:
    """Yield what this investor or this deployment may not send; where his profile was never read, the broker judges."""
    known_exchanges, known_products = caller.session.exchanges, caller.session.products
    if terms.exchange == "MCX" and not settings.allow_mcx:
        yield Refusal("/exchange", "MCX is not enabled here")  # lots or units: docs/broker.md, "Open questions"
    elif known_exchanges and terms.exchange not in known_exchanges:
        yield Refusal("/exchange", f"is not open to this account, which has {', '.join(known_exchanges)}")
    if known_products and terms.product not in known_products:
        yield Refusal("/product", f"is not open to this account, which has {', '.join(known_products)}")
    if terms.is_at_market and settings.market_orders == "refuse":
        yield Refusal("/orderType", f"{terms.order_type} is not enabled here; give a limit price")
