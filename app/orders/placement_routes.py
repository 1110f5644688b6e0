"""What became of everything that was placed, over days."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from app.dependencies import State
from app.orders.changing import cancel_placement
from app.orders.intents import Action
from app.orders.routes import ActorOf
from app.orders.schemas import CancelledPlacement, Placement, PlacementList
from app.orders.telling import Wanted, list_page, placement_as_known, read_placement, told_cancels
from app.paging import Moment
from app.problem_answers import BROKER_ACT, SESSION, answers, may_stay_unknown
from app.problems import InvalidRequest, NotFound, TemporarilyUnavailable
from app.sessions.current import SignedIn
from app.trading import Outcome

router = APIRouter(prefix="/v1", tags=["placements"])

_OURS = (*SESSION, InvalidRequest, TemporarilyUnavailable)

PlacementId = Annotated[UUID, Path(alias="placementId", description="As the answer to the placement named it")]


@router.get("/placements", responses=answers(*_OURS))
async def list_placements(
    *,
    investor: SignedIn,
    state: State,
    first: Annotated[Moment, Query(alias="from", description="An Indian day, inclusive, or a moment")] = None,
    last: Annotated[Moment, Query(alias="to", description="An Indian day, inclusive, or a moment")] = None,
    action: Annotated[list[Action] | None, Query(description="Other actions than PLACE; may be repeated")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only what is this")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`nextCursor` of the page before")] = None,
) -> PlacementList:
    """List what became of each placement (or of other actions), newest first; costs no call to the broker."""
    wanted = Wanted(action or [Action.PLACE], outcome, first, last, cursor, limit)
    return await list_page(state["db"], investor.user_id, wanted, investor.clock.now())


@router.get("/placements/{placementId}", responses=answers(*_OURS, NotFound))
async def read_one_placement(*, investor: SignedIn, state: State, placement_id: PlacementId) -> Placement:
    """Read what became of one placement, modification, cancel or conversion."""
    return await read_placement(state["db"], investor.user_id, placement_id)


@router.delete(
    "/placements/{placementId}",
    responses=may_stay_unknown(CancelledPlacement) | answers(*BROKER_ACT, NotFound),
)
async def cancel_whole_placement(
    *, investor: SignedIn, state: State, actor: ActorOf, response: Response, placement_id: PlacementId
) -> CancelledPlacement:
    """Cancel all orders of a placement; of an unknown one, whatever turns up."""
    intent, cancels = await cancel_placement(actor, investor, placement_id)
    now = await placement_as_known(state["db"], intent, is_fresh=True)
    told, response.status_code = told_cancels(cancels, now)
    return told
