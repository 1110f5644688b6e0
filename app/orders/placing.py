"""Placing one order: what may not be sent is refused before anything is, the rest is sent once."""

from app.broker.permits import Clearance
from app.broker.verdicts import Verdict
from app.ordering import NewOrder, canonical, price_refusals
from app.orders.acting import Actor
from app.orders.intents import Action, likeness
from app.orders.refusing import allowance_refusals, refuse
from app.orders.wishes import Done, Risk, Wish
from app.safeguards.idempotency import repeatable
from app.sessions.asking import Caller
from app.settings import Settings


async def place_order(actor: Actor, caller: Caller, settings: Settings, order: NewOrder, key: str) -> Done:
    """Place one order; raises `InvalidRequest`, and what `Actor.do` raises."""
    refuse(price_refusals(order))
    request = repeatable(key, "POST", "/v1/orders", canonical(order))
    if earlier := await actor.replay(caller, request):
        return earlier
    refuse(allowance_refusals(order, caller, settings))
    terms = order.terms

    async def send(clearance: Clearance, correlation: str | None) -> Verdict:
        return await caller.gateway.place(clearance, terms, correlation)

    wish = Wish(
        action=Action.PLACE,
        terms=terms.model_dump(mode="json"),
        send=send,
        likeness=likeness(canonical(terms)),
        risk=Risk(terms.quantity, terms.value, is_new_order=True, refuses_twin=not order.allow_duplicate),
        repeatable=request,
        exchanges=(terms.exchange,),
    )
    return await actor.do(caller, wish)
