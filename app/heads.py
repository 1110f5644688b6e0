"""The head of a request, gone through once for all who ask it something."""

from collections.abc import Mapping
from typing import cast

from starlette.types import Scope

_KEY = "app.head"


def head_of(scope: Scope) -> Mapping[bytes, bytes]:
    """Return the header fields by name; what was sent twice is one text, which no list of ours holds."""
    known = scope.get(_KEY)
    if known is not None:
        return cast("Mapping[bytes, bytes]", known)
    found: dict[bytes, bytes] = {}
    for name, said in scope["headers"]:
        found[name] = found[name] + b", " + said if name in found else said
    scope[_KEY] = found
    return found


def said(scope: Scope, name: bytes) -> str | None:
    """Return what a field says, none where it is not there."""
    content = head_of(scope).get(name)
    return None if content is None else content.decode("latin-1")
