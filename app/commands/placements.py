"""`partner placements`: what is still unknown, and what a person found out about it."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from app.clock import IST
from app.commands.opening import CannotDo, Desk, run
from app.commands.options import Actor, OneUser, Reason
from app.commands.speaking import AsJson, say
from app.orders.intents import Intent
from app.orders.settling import CannotSettle, list_unresolved, settle_by_hand
from app.trading import Outcome

placements = typer.Typer(no_args_is_help=True, help="What nobody knows yet of orders, and settling it by hand.")


class Resolution(StrEnum):
    """What a person can find out."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


PlacementId = Annotated[UUID, typer.Argument(metavar="PLACEMENT", help="Its id, as `unresolved` lists it.")]
As = Annotated[Resolution, typer.Option("--as", help="What became of it, as the broker told you.")]
OrderNos = Annotated[
    list[str] | None, typer.Option("--order-no", help="An order that came from it; several may be named.")
]


@placements.command()
def unresolved(*, user: OneUser = None, as_json: AsJson = False) -> None:
    """List what is unknown: since when, what it was, why nobody knows, and which orders it might be."""

    async def look(desk: Desk) -> list[Intent]:
        return await list_unresolved(desk.db)

    found = [each for each in run(look) if user in {None, each.user_id}]
    sentences = [_sentence(each) for each in found]
    say(
        "\n".join(sentences) or "Nothing is unknown.", {"unresolved": [_facts(each) for each in found]}, as_json=as_json
    )


@placements.command()
def resolve(
    placement: PlacementId,
    *,
    outcome: As,
    order_no: OrderNos = None,
    reason: Reason,
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """Settle an unknown one with what the broker told you; nothing is sent, and it goes into the ledger."""

    async def settle(desk: Desk) -> Intent:
        try:
            return await settle_by_hand(
                desk.db, desk.ledger, placement, Outcome(outcome), order_nos=order_no or [], reason=reason, actor=actor
            )
        except CannotSettle as error:
            raise CannotDo(str(error)) from error

    settled = run(settle)
    say(f"Placement {placement} is {outcome} now.", _facts(settled), as_json=as_json)


def _sentence(intent: Intent) -> str:
    minutes = int((intent.now - intent.created_at).total_seconds() // 60)
    candidates = f"; it may be {', '.join(intent.candidates)}" if intent.candidates else ""
    about = intent.order_no or intent.terms.get("tradingSymbol", "")
    return (
        f"{intent.id} {intent.user_id} {intent.action} {about}: unknown for {minutes} min, since "
        f"{intent.created_at.astimezone(IST):%d.%m.%Y %H:%M:%S} IST, {intent.reason or 'no reason known'}{candidates}"
    )


def _facts(intent: Intent) -> dict[str, object]:
    return {
        "placementId": str(intent.id),
        "user": intent.user_id,
        "action": intent.action,
        "outcome": intent.outcome,
        "reason": intent.reason,
        "orderNo": intent.order_no,
        "terms": intent.terms,
        "candidates": intent.candidates,
        "createdAt": intent.created_at.isoformat(),
    }
