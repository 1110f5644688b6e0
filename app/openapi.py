"""The OpenAPI document, exact: problems as they are sent, one schema for all of them, and who is signed in."""

from typing import Any

from fastapi import FastAPI

from app.problems import SCHEMA


def exact_openapi(app: FastAPI) -> None:
    """Make the app describe its problems and its cookie, instead of FastAPI's own validation errors."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _mended(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to change the document


def _mended(document: dict[str, Any]) -> dict[str, Any]:
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
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/"):
                operation["security"] = [{"session": []}]
    return document
