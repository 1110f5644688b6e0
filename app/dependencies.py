"""What a route may ask for besides the session, on one page."""

from typing import Annotated, Literal, TypedDict, cast

from fastapi import Depends, Request
from starlette.responses import Response

from app.broker.gateway import Gateway
from app.clock import Clock
from app.db import Database
from app.safeguards.addresses import client_address
from app.safeguards.cookies import is_doubtful, own_cookie
from app.safeguards.ratelimit import RateLimiter
from app.settings import Settings


class ProcessState(TypedDict):
    """What one process shares between its requests; opened in resources.py, put here by the lifespan."""

    settings: Settings
    clock: Clock
    db: Database
    gateway: Gateway
    limiter: RateLimiter


def process_state(request: Request) -> ProcessState:
    """Return what the process shares."""
    return cast("ProcessState", request.state._state)  # noqa: SLF001  # Starlette's own dictionary behind the attributes


async def _state(request: Request) -> ProcessState:
    """Return the same, without the thread in which a plain function would be called."""
    return process_state(request)


State = Annotated[ProcessState, Depends(_state)]


class Cookies:
    """Our two cookies. In production they carry `__Host-`: no sibling host and no plain http can plant them."""

    def __init__(self, settings: Settings) -> None:
        self._is_secure = settings.is_production
        prefix = "__Host-" if settings.is_production else ""
        self.session = f"{prefix}session"
        self.login = f"{prefix}login"

    def of(self, request: Request, name: str) -> str | None:
        """Return what this very cookie holds, none where it is missing or there is any doubt about which it is."""
        return own_cookie(request.scope["headers"], name)

    def is_doubtful(self, request: Request, name: str) -> bool:
        """Say whether this cookie has a look-alike: then a sibling host may have planted one of them."""
        return is_doubtful(request.scope["headers"], name)

    def put(self, response: Response, name: str, content: str, *, max_age: int) -> None:
        """Give the browser a cookie that scripts can't read and other sites' forms don't send."""
        response.set_cookie(
            name, content, max_age=max_age, path="/", secure=self._is_secure, httponly=True, samesite=_LAX
        )

    def expire(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=self._is_secure, httponly=True, samesite=_LAX)


_LAX: Literal["lax"] = "lax"


def caller_address(request: Request, settings: Settings) -> str | None:
    """Return the address a request came from, through the proxies that are trusted."""
    peer = request.client.host if request.client else None
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    return client_address(peer, forwarded, settings.trusted_proxies)
