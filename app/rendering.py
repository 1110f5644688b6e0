"""How a problem reaches a caller: as `application/problem+json`, or as a page for a person at our sign-in."""

import re

from fastapi.encoders import jsonable_encoder
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from app.pages import Button, content_security_policy, page
from app.problems import MEDIA_TYPE, Problem

SWITCH = "switch"
"""The parameter of our sign-in that lets another client take the place of the one who is signed in."""

_CALLBACK = "/sso/callback"


class ProblemRenderer:
    """Turns a problem into an answer; knows where our problem pages and our sign-in stand."""

    def __init__(self, public_base_url: str, sign_in_url: str, form_targets: tuple[str, ...]) -> None:
        self._problems_url = f"{public_base_url}/problems/"
        self._sign_in_url = sign_in_url
        self._policy = content_security_policy(*form_targets)

    def answer(self, problem: Problem, scope: Scope) -> Response:
        """Return the problem as a page for a person whose browser came to our sign-in by itself, else as JSON."""
        scope["problem"] = problem.slug  # for whoever counts how requests end
        if not _is_navigating(scope):
            return self._as_json(problem)
        response = self._as_page(problem)
        if scope["path"] != _CALLBACK:  # its address holds a code, which no page may pass on
            response.headers["Referrer-Policy"] = "same-origin"
        return response

    def _as_json(self, problem: Problem) -> Response:
        """Return the problem as `application/problem+json`."""
        return JSONResponse(
            self._body(problem), status_code=problem.http_status, headers=problem.headers, media_type=MEDIA_TYPE
        )

    def _as_page(self, problem: Problem) -> Response:
        """Return the problem as a page for somebody whose browser came to our sign-in by itself."""
        said = [problem.detail or "", *problem.reasons(), problem.said_to_a_person or "Please try again in a moment."]
        fields = (("return_to", problem.return_to),) if problem.return_to else ()
        label = "Sign in with Gopocket"
        if problem.switch:
            label, fields = "Sign in as the other client", (*fields, (SWITCH, problem.switch))
        html = page(
            problem.title,
            said,
            button=Button(label, self._sign_in_url, fields),
            small_print=f"{problem.slug} ({problem.http_status})",
        )
        headers = {"Content-Security-Policy": self._policy, **problem.headers}
        return HTMLResponse(html, status_code=problem.http_status, headers=headers)

    def _body(self, problem: Problem) -> dict[str, object]:
        body: dict[str, object] = {
            "type": self._problems_url + problem.slug,
            "title": problem.title,
            "status": problem.http_status,
        }
        if problem.detail:
            body["detail"] = problem.detail
        if problem.asks_for_sign_in:
            body["loginUrl"] = self._sign_in_url + (f"?{SWITCH}={problem.switch}" if problem.switch else "")
        body.update(jsonable_encoder(problem.members))
        return body


def _is_navigating(scope: Scope) -> bool:
    """Say whether a person's browser came to our sign-in by itself; the API answers in JSON whatever is accepted."""
    if scope["type"] != "http" or not scope["path"].startswith("/sso/"):
        return False
    headers = Headers(scope=scope)
    mode = headers.get("sec-fetch-mode")
    return mode == "navigate" if mode else _prefers_a_page(headers.get("accept", ""))


def _prefers_a_page(accept: str) -> bool:
    """Say whether HTML is asked for by name, and more than JSON is (RFC 9110, 12.5.1)."""
    weights = {
        kind.strip().lower(): _weight(parameters)
        for kind, _, parameters in (each.partition(";") for each in accept.split(","))
    }
    return weights.get("text/html", 0) > max(weights.get("application/json", 0), weights.get(MEDIA_TYPE, 0))


def _weight(parameters: str) -> float:
    found = re.search(r"\bq=([01](?:\.[0-9]{0,3})?)", parameters)
    return float(found[1]) if found else 1.0
