"""How much one process takes on at a time: of requests, of connections, of calls to the broker."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, field_validator

from app.settings_parsing import duration

Duration = Annotated[timedelta, BeforeValidator(duration)]

_LONGEST_WAIT = timedelta(seconds=30)


class Capacity(BaseModel):
    """The part of the settings that bounds what is done at the same time (docs/reliability.md)."""

    database_pool_size: Annotated[int, Field(ge=2, le=1000)] = 10
    database_pool_wait: Duration = timedelta(seconds=3)
    requests_per_process: Annotated[int, Field(ge=10)] = 1000
    broker_calls_in_flight: Annotated[int, Field(ge=4, le=10_000)] = 64
    broker_breaker_failures: Annotated[int, Field(ge=0, le=25)] = 5

    @field_validator("database_pool_wait")
    @classmethod
    def _short(cls, length: timedelta) -> timedelta:
        if not timedelta(0) < length <= _LONGEST_WAIT:
            raise ValueError(f"must be longer than nothing and at most {_LONGEST_WAIT.seconds} seconds")
        return length
