"""Pages that explain: what each problem asks of the client, the API in a browser, and the example portal."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from app.pages import content_security_policy, page
from app.problems import NotFound, all_problems

PORTAL_FOLDER = Path(__file__).parents[2] / "examples" / "portal"

router = APIRouter(include_in_schema=False)

_SWAGGER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"  # Swagger UI styles its elements inline
)
_PORTAL_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SWAGGER_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>API</title>
<link rel="stylesheet" href="/docs/files/swagger-ui.css"><link rel="icon" href="/docs/files/favicon-32x32.png"></head>
<body><div id="api"></div><script src="/docs/files/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script>
</body></html>"""
_SWAGGER_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#api", deepLinking: true});'


@router.get("/problems/{slug}")
async def explain_problem(*, slug: str) -> Response:
    """Show what a client should do about a problem; the `type` of every problem leads here."""
    kind = next((each for each in all_problems() if each.slug == slug), None)
    if kind is None:
        raise NotFound
    advice = [" ".join(part.split()) for part in (kind.__doc__ or "").split("\n\n")]
    html = page(kind.title, advice, small_print=f"{kind.slug} · HTTP {kind.status}")
    return HTMLResponse(html, headers={"Content-Security-Policy": content_security_policy()})


class FilesWithPolicy(StaticFiles):
    """Static files under a content security policy of their own."""

    def __init__(self, folder: Path, policy: str) -> None:
        super().__init__(directory=folder, html=True)
        self._policy = policy

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = self._policy
            await send(message)

        await super().__call__(scope, receive, send_with_policy)


def serve_docs(app: FastAPI) -> None:
    """Serve Swagger UI from files of ours, so that it works without internet and under a policy."""
    app.mount("/docs/files", StaticFiles(directory=str(files("fastapi_swagger") / "resources")))

    @app.get("/docs", include_in_schema=False)
    async def show_docs() -> Response:
        return HTMLResponse(_SWAGGER_PAGE, headers={"Content-Security-Policy": _SWAGGER_POLICY})

    @app.get("/docs/start.js", include_in_schema=False)
    async def start_docs() -> Response:
        return PlainTextResponse(_SWAGGER_START, media_type="text/javascript")


def serve_portal(app: FastAPI, folder: Path = PORTAL_FOLDER) -> None:
    """Serve the example portal; a development service has it, where the examples are there at all."""
    if not folder.is_dir():
        return
    app.mount("/portal", FilesWithPolicy(folder, _PORTAL_POLICY))

    @app.get("/portal", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def go_to_portal() -> Response:
        return RedirectResponse("/portal/", status_code=303)
