"""What a sign-in and the last log-out set off elsewhere; registered where everything is put together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.broker.permits import Bearer


@dataclass(frozen=True)
class Hooks:
    """`signed_in` is told a user's id and returns at once; `logged_out`, whose token lives on for a moment, waits."""

    signed_in: Callable[[str], None]
    logged_out: Callable[[Bearer], Awaitable[None]]
