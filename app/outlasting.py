"""Work that outlasts the frames of its request: what a stream is told for minutes passes no gate any more.

A request stands in some thirty frames when it has come to its route, and a thousand streams would keep all of theirs.
The outermost of ours takes the work over when all others have returned.
"""

from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

Work = Callable[[Receive, Send], Awaitable[None]]

_KEY = "app.outlasting"


def outlast(scope: Scope, work: Work) -> None:
    """Have an answer that has begun gone on with, and ended, once everything that led to it has returned."""
    scope[_KEY] = work


async def go_on(scope: Scope, receive: Receive, send: Send) -> None:
    """Do what is left to be done for an answer, and let go of what the framework had kept for it meanwhile."""
    work: Work | None = scope.pop(_KEY, None)
    if work is not None:
        for name in [name for name in scope if name.startswith("fastapi_")]:
            del scope[name]
        await work(receive, send)
