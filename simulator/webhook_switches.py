"""How the broker posts the order updates of one investor or of all, as it is switched from outside."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_LONGEST = 86_400.0  # seconds


class WebhookSwitches(BaseModel):
    """Every switch with what holds when nobody has touched it; null puts one back."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    duplicates: int | None = Field(None, ge=0, le=100)
    reorder: bool | None = None
    delay_seconds: float | None = Field(None, ge=0, le=_LONGEST)
    lose: Literal["all", "every-second"] | None = None
    dialect: Literal["noren", "checksum", "badChecksum"] | None = None
    partial: bool | None = None
