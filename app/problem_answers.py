"""What a route's description says of the problems it can answer with, for the OpenAPI document."""

from typing import Any

from pydantic import BaseModel

from app.problems import (
    MEDIA_TYPE,
    BrokerFault,
    BrokerRateLimited,
    BrokerSessionExpired,
    BrokerTimeout,
    BrokerUnavailable,
    CapExceeded,
    CrossSiteRequest,
    IdempotencyKeyInUse,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InvalidRequest,
    NotSignedIn,
    OrderRefused,
    Problem,
    RateLimited,
    SessionExpired,
    TemporarilyUnavailable,
    TradingHalted,
    UserBlocked,
)

SESSION = (NotSignedIn, SessionExpired, UserBlocked)
"""What keeps a caller from being let in."""

BROKER_READ = (
    *SESSION, BrokerSessionExpired, RateLimited,
    BrokerRateLimited, BrokerUnavailable, BrokerTimeout, BrokerFault, TemporarilyUnavailable,
)  # fmt: skip
"""What every read that asks the broker can end with."""


BROKER_ACT = (
    *SESSION, BrokerSessionExpired, CrossSiteRequest, OrderRefused, InvalidRequest,
    RateLimited, BrokerRateLimited, TemporarilyUnavailable,
)  # fmt: skip
"""What everything done in a user's name can end with; a broker that fails makes it unknown instead."""

NEW_RISK = (
    TradingHalted, CapExceeded, IdempotencyKeyMissing, IdempotencyKeyInUse, IdempotencyKeyReused,
)  # fmt: skip
"""What placing, modifying and converting can end with besides."""


def may_stay_unknown(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return what a route's description says of an outcome that nobody knows yet."""
    said = "Nobody knows yet whether the broker has it; `GET /v1/placements/{placementId}` tells what becomes of it"
    return {202: {"model": model, "description": said}}


def answers(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return what a route's description says of the problems it can answer with, for the OpenAPI document."""
    by_status: dict[int | str, list[type[Problem]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: {
            "description": "; ".join(f"`{kind.slug}`: {kind.title}" for kind in together),
            "content": {
                MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": _examples(together)}
            },
        }
        for status, together in by_status.items()
    }


def _examples(kinds: list[type[Problem]]) -> dict[str, object]:
    return {
        kind.slug: {
            "value": {
                "type": f"https://api.partner.example/problems/{kind.slug}",
                "title": kind.title,
                "status": kind.status,
            }
            | ({"loginUrl": "https://api.partner.example/sso/login"} if kind.asks_for_sign_in else {})
        }
        for kind in kinds
    }


SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457; `type` is the address of a page that says what to do.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "loginUrl": {"type": "string", "format": "uri", "description": "where a sign-in begins, if one is asked for"},
        "placementId": {"type": "string", "format": "uuid", "description": "what was remembered of an order"},
        "reason": {"type": "string", "description": "the broker's own words, or a slug of ours"},
        "violatedPolicies": {
            "type": "array",
            "items": {"type": "string"},
            "description": "the windows that are full, by their names in `RateLimit-Policy`",
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
"""How a problem looks in the OpenAPI document."""
