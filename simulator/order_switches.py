"""How the broker treats the orders of one investor or of all, as it is switched from outside."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

EVERYBODY = "*"
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


class Switchboard:
    """The switches by investor; his own stand before everybody's."""

    def __init__(self) -> None:
        self._set: dict[str, OrderSwitches] = {}

    def turn(self, user_id: str, wanted: OrderSwitches) -> None:
        """Take over what is named; what is not stays."""
        named = {name: getattr(wanted, name) for name in wanted.model_fields_set}
        self._set[user_id] = self._set.get(user_id, OrderSwitches()).model_copy(update=named)

    def clear(self, user_id: str) -> None:
        self._set.pop(user_id, None)

    def of(self, user_id: str) -> OrderSwitches:
        """Return what holds for an investor."""
        return OrderSwitches().model_copy(update=self._touched(EVERYBODY) | self._touched(user_id))

    def use_up(self, user_id: str, name: Literal["reject_next", "refuse_next"]) -> None:
        """Turn off what holds for one order only, where it was found."""
        owner = user_id if name in self._touched(user_id) else EVERYBODY
        if owner in self._set:
            self._set[owner] = self._set[owner].model_copy(update={name: None})

    def shown(self, user_id: str) -> dict[str, Any]:
        """Return what is switched for an investor, in the words it was switched with."""
        return self.of(user_id).model_dump(by_alias=True, exclude_none=True)

    def listed(self) -> list[dict[str, Any]]:
        """Return what is switched, for people."""
        return [
            {"userId": user_id} | switches.model_dump(by_alias=True, exclude_none=True)
            for user_id, switches in self._set.items()
            if self._touched(user_id)
        ]

    def _touched(self, user_id: str) -> dict[str, Any]:
        found = self._set.get(user_id)
        return {name: value for name, value in found if value is not None} if found else {}
