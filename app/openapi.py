"""The OpenAPI document, exact: problems as they are sent, one schema for all of them, and who is signed in."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from app.problem_answers import SCHEMA, answers
from app.problems import MEDIA_TYPE, InvalidRequest

_HEADERS_OF = {
    "303": ["Location", "Set-Cookie"],
    "409": ["Retry-After"],
    "429": ["Retry-After"],
    "503": ["Retry-After"],
}
_QUOTA = ["RateLimit", "RateLimit-Policy"]
_HEADERS_OF_ACTS = {status: ["Location", "Idempotency-Replayed"] for status in ("200", "201", "202")}
_KEY = "Idempotency-Key"
_ABOUT = {
    "X-Request-ID": "The request's id, as the log has it; the caller's own where it sent one",
    "Location": "Where to go now, or where to ask again",
    "Idempotency-Replayed": "`true` where nothing was sent, because a request with this key came before",
    "Set-Cookie": "Our cookie, HttpOnly",
    "Retry-After": "Seconds to wait",
    "RateLimit": 'What is left of each window, the tightest first: `"order-60";r=224;t=61` (IETF draft 10); absent '
    "where nobody is signed in",
    "RateLimit-Policy": 'The windows themselves: `"order-60";q=250;w=60`',
    "Age": "Seconds since the broker was asked",
}


def exact_openapi(app: FastAPI) -> None:
    """Make the app describe its problems and its cookie, instead of FastAPI's own validation errors."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _mended(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to change the document


def _mended(document: dict[str, Any]) -> dict[str, Any]:
    from app.openapi_examples import EXAMPLES  # noqa: PLC0415  # a megabyte, and production serves no document

    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = SCHEMA
    components["securitySchemes"] = {
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-session",
            "description": "Set by /sso/callback; named `session` in development. HttpOnly: scripts never see it.",
        }
    }
    for name, schema in schemas.items():
        _describe(name, schema, EXAMPLES)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/"):
                operation["security"] = [{"session": []}]
            _require_key(operation)
            _replace_validation_error(operation["responses"])
            _complete(path, operation["responses"], is_act=_takes_key(operation), has_age=_may_be_reused(operation))
    return document


def _describe(name: str, schema: dict[str, Any], examples: Mapping[str, object]) -> None:
    """Give a schema its example and drop the titles that only repeat a field's name."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    if name in examples:
        schema["examples"] = [examples[name]]


def _takes_key(operation: dict[str, Any]) -> bool:
    return any(each["name"] == _KEY for each in operation.get("parameters", []))


def _may_be_reused(operation: dict[str, Any]) -> bool:
    return any(each["name"] == "Cache-Control" for each in operation.get("parameters", []))


def _require_key(operation: dict[str, Any]) -> None:
    """Say of the key that it is required where its absence is a problem of its own, and a text."""
    for parameter in operation.get("parameters", []):
        if parameter["name"] == _KEY:
            parameter["required"] = "400" in operation["responses"]
            parameter["schema"] = {"type": "string", "minLength": 1, "maxLength": 255} | {
                name: parameter["schema"][name] for name in ("examples",)
            }


def _replace_validation_error(responses: dict[str, Any]) -> None:
    """Put our problem in the place of FastAPI's own validation error, where a route names none."""
    if "application/json" in responses.get("422", {}).get("content", {}):
        responses["422"] = answers(InvalidRequest)[InvalidRequest.status]


def _complete(path: str, responses: dict[str, Any], *, is_act: bool, has_age: bool) -> None:
    """Add what every route shares: the headers, any other problem, and pages for people at the sign-in."""
    responses["default"] = {
        "description": "Any other problem: `too-large`, `method-not-allowed`, `internal-error`, and later ones",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, response in responses.items():
        named = ["X-Request-ID", *_HEADERS_OF.get(status, []), *(_HEADERS_OF_ACTS.get(status, []) if is_act else [])]
        named += [*(_QUOTA if path.startswith("/v1/") else []), *(["Age"] if has_age and status == "200" else [])]
        response["headers"] = {name: {"schema": {"type": "string"}, "description": _ABOUT[name]} for name in named}
        if path.startswith("/sso/") and MEDIA_TYPE in response.get("content", {}):
            response["content"]["text/html"] = {
                "schema": {"type": "string", "description": "For a browser that navigates"}
            }
