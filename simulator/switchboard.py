"""Switches by investor, of whatever kind: his own stand before everybody's."""

from typing import Any, Generic, TypeVar

from pydantic import BaseModel

EVERYBODY = "*"

S = TypeVar("S", bound=BaseModel)


class Switchboard(Generic[S]):
    """The switches of one kind, each of which is null where nobody has touched it."""

    def __init__(self, kind: type[S]) -> None:
        self._kind = kind
        self._set: dict[str, S] = {}

    def turn(self, user_id: str, wanted: S) -> None:
        """Take over what is named; what is not stays."""
        named = {name: getattr(wanted, name) for name in wanted.model_fields_set}
        self._set[user_id] = self._set.get(user_id, self._kind()).model_copy(update=named)

    def clear(self, user_id: str) -> None:
        self._set.pop(user_id, None)

    def of(self, user_id: str) -> S:
        """Return what holds for an investor."""
        return self._kind().model_copy(update=self._touched(EVERYBODY) | self._touched(user_id))

    def use_up(self, user_id: str, name: str) -> None:
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
