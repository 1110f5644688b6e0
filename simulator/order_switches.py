"""How the broker treats the orders of one investor or of all, as it is switched from outside."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_LONGEST = 86_400.0  # seconds


class RejectNext(BaseModel):
    """The risk system refuses the next order, at once or some seconds after it was taken."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    reason: str = Field(min_length=1)
    after_seconds: float = Field(0, ge=0, le=_LONGEST)


class OrderSwitches(BaseModel):
    """Every switch with what holds when nobody has touched it; null puts one back."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    remarks_in: Literal["history", "book", "nowhere"] | None = None
    shown_after_seconds: float | None = Field(None, ge=0, le=_LONGEST)
    freeze_quantity: int | None = Field(None, ge=1)
    refused_slice: int | None = Field(None, ge=0)
    fill_at_most: int | None = Field(None, ge=1)
    reject_next: RejectNext | None = None
    refuse_next: str | None = Field(None, min_length=1)
    book_without_order_no: bool | None = None
