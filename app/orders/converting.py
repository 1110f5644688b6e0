"""Converting a position from one product to another: sent once, like an order."""

from app.broker.gateway import Gateway
from app.broker.permits import Clearance
from app.broker.verdicts import Verdict
from app.ordering import Conversion, canonical, conversion_refusals
from app.orders.acting import Actor
from app.orders.intents import BEFORE, Action, likeness
from app.orders.refusing import conversion_allowance_refusals, refuse
from app.orders.wishes import Done, Risk, Wish
from app.problems import BrokerFault, BrokerRateLimited, BrokerTimeout, BrokerUnavailable
from app.safeguards.idempotency import repeatable
from app.sessions.asking import Caller, Investor
from app.settings import Settings
from app.trading import Position


async def convert_position(actor: Actor, caller: Caller, settings: Settings, conversion: Conversion, key: str) -> Done:
    """Convert a position; raises `InvalidRequest`, and what `Actor.do` raises."""
    refuse(conversion_refusals(conversion))
    request = repeatable(key, "POST", "/v1/positions/convert", canonical(conversion))
    if earlier := await actor.replay(caller, request):
        return earlier
    refuse(conversion_allowance_refusals(conversion, caller, settings))
    await actor.refuse_halted(caller.user_id)

    async def send(clearance: Clearance, _correlation: str | None) -> Verdict:
        return await caller.gateway.convert(clearance, conversion)

    wish = Wish(
        action=Action.CONVERT,
        terms=conversion.model_dump(mode="json") | {BEFORE: await _quantities(caller, conversion)},
        send=send,
        likeness=likeness(canonical(conversion)),
        risk=Risk(),
        repeatable=request,
    )
    return await actor.do(caller, wish)


def quantities(positions: list[Position], conversion: Conversion) -> list[int]:
    """Return the net quantity of a symbol under the product to convert from, and under the one to convert to."""

    def held(product: str) -> int:
        return sum(
            each.net_quantity or 0
            for each in positions
            if (each.exchange, each.trading_symbol, each.product)
            == (conversion.exchange, conversion.trading_symbol, product)
        )

    return [held(conversion.from_product), held(conversion.to_product)]


async def _quantities(investor: Investor, conversion: Conversion) -> list[int] | None:
    """Return what is held before: without it nobody can tell afterwards whether an unknown conversion was done."""
    try:
        reading = await investor.ask(Gateway.positions)
    except (BrokerTimeout, BrokerUnavailable, BrokerFault, BrokerRateLimited):
        return None  # the conversion itself may well go through; if it ends unknown, a person decides
    return quantities(reading.answer, conversion)
