"""`create_app(settings)`: the service, put together; nothing opens or reads before its lifespan begins."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import SecretBytes, SecretStr
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from app import __doc__ as about
from app.clock import Clock
from app.funds import routes as funds
from app.guide import routes as guide
from app.health import routes as health
from app.middleware import Edge
from app.openapi import exact_openapi
from app.order_updates import routes as order_updates
from app.orders import placement_routes as placements
from app.orders import routes as orders
from app.portfolio import routes as portfolio
from app.pressure import Pressure
from app.problems import InternalError, InvalidRequest, MethodNotAllowed, NotFound, Problem
from app.profile import routes as profile
from app.rate_limits import routes as rate_limits
from app.rendering import ProblemRenderer
from app.resources import Resources, open_resources
from app.sessions import routes as sessions
from app.settings import Settings
from app.settings_parsing import KEY_LENGTH, EncryptionKey
from app.sso import routes as sso
from app.straight import Straight

ExceptionHandler = Callable[[Request, Any], Coroutine[Any, Any, Response]]

_ROUTES = (
    sso, sessions, orders, placements, order_updates, portfolio, funds, profile, rate_limits, health, guide,
)  # fmt: skip
_METHODS = ["GET", "HEAD", "POST", "PATCH", "DELETE"]


class _Service(FastAPI):
    """FastAPI behind our own edge, which no layer of the framework's stands before."""

    _edge: ASGIApp

    def stand_behind(self, settings: Settings, renderer: ProblemRenderer) -> None:
        """Put edge, count of requests and straight way before what the framework does with them."""
        straight = Straight(super().__call__, routes=[route for each in _ROUTES for route in each.router.routes])
        pressed = Pressure(straight, renderer=renderer, most=settings.requests_per_process)
        self._edge = Edge(pressed, settings=settings, renderer=renderer)

    @override
    def build_middleware_stack(self) -> ASGIApp:
        """Return the framework's layers from its handlers of problems inwards: what nobody expected is the edge's.

        The outer ones would answer it in their own words, which our edge would then take for an answer.
        """
        layer: Any = super().build_middleware_stack()
        while not isinstance(layer, ExceptionMiddleware):
            layer = layer.app
        return layer

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._edge(scope, receive, send) if scope["type"] == "http" else super().__call__(scope, receive, send))


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    """Return the service; everything it shares opens in its lifespan and closes with it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[Resources]:
        async with open_resources(settings, clock or Clock()) as resources:
            yield resources

    renderer = ProblemRenderer(settings.public_base_url, settings.sign_in_url, settings.sign_in_targets)
    app = _Service(
        title="Gopocket partner backend",
        version="1",
        description=about,
        lifespan=lifespan,
        exception_handlers=_exception_handlers(renderer),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.are_docs_served else None,
    )
    for routes in _ROUTES:
        app.include_router(routes.router)
    app.stand_behind(settings, renderer)
    exact_openapi(app)
    if settings.are_docs_served:
        guide.serve_docs(app)
    if not settings.is_production:
        guide.serve_portal(app)
    return app


def _exception_handlers(renderer: ProblemRenderer) -> dict[int | type[Exception], ExceptionHandler]:
    async def tell(request: Request, problem: Problem) -> Response:
        return renderer.answer(problem, request.scope)

    async def tell_invalid(request: Request, error: RequestValidationError) -> Response:
        return await tell(request, InvalidRequest(errors=[_place(each) for each in error.errors()]))

    async def tell_http(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return await tell(request, MethodNotAllowed(headers={"Allow": ", ".join(_methods_of(request))}))
        kinds: dict[int, type[Problem]] = {HTTPStatus.NOT_FOUND: NotFound, HTTPStatus.BAD_REQUEST: InvalidRequest}
        return await tell(request, kinds.get(error.status_code, InternalError)())

    return {Problem: tell, RequestValidationError: tell_invalid, HTTPException: tell_http}


def _methods_of(request: Request) -> list[str]:
    """Return every method that is served at an address; Starlette knows those of its first route alone."""
    routes = request.app.router.routes
    wanted = ({**request.scope, "method": method} for method in _METHODS)
    return [each["method"] for each in wanted if any(route.matches(each)[0] is Match.FULL for route in routes)]


def _place(error: dict[str, object]) -> dict[str, object]:
    """Return the place and reason of one refusal: a JSON pointer into the body, or /query/… and /path/…."""
    where = error["loc"]
    parts = [str(part) for part in where] if isinstance(where, tuple) else []
    pointer = "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts if part != "body")
    return {"pointer": f"/{pointer}", "detail": str(error["msg"]).removeprefix("Value error, ")}


def description() -> dict[str, Any]:
    """Return the API's OpenAPI document; it is the same in every deployment."""
    nowhere = "https://partner.example"
    return create_app(
        Settings(
            app_env="development",
            database_url=SecretStr("postgresql:///"),
            public_base_url=nowhere,
            frontend_origins=(nowhere,),
            default_return_url=f"{nowhere}/",
            broker_app_code="-",
            broker_api_secret=SecretStr("-"),
            encryption_keys=(EncryptionKey("k1", SecretBytes(bytes(KEY_LENGTH))),),
        )
    ).openapi()
