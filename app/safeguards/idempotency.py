"""The key by which a request that is sent again is known, and what makes two requests the same."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.problems import IdempotencyKeyMissing, InvalidRequest

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_NOT_A_KEY = "must have 1 to 255 printable ASCII characters and be sent once"


@dataclass(frozen=True)
class Repeatable:
    """A request that may come again: its key, and the fingerprint of what it asks for."""

    key: str
    fingerprint: bytes


def read_key(sent: list[str]) -> str | None:
    """Return the key of all `Idempotency-Key` headers, none where there is none; raises `InvalidRequest`."""
    if not sent:
        return None
    if len(set(sent)) > 1 or not _KEY.fullmatch(sent[0]):
        raise InvalidRequest(errors=[{"pointer": "/header/Idempotency-Key", "detail": _NOT_A_KEY}])
    return sent[0]


def required(key: str | None) -> str:
    """Return the key; raises `IdempotencyKeyMissing`."""
    if key is None:
        raise IdempotencyKeyMissing
    return key


def repeatable(key: str, method: str, path: str, content: Mapping[str, object]) -> Repeatable:
    """Return what a request is known by; `content` is its body in canonical values, so that 52 is 52.0."""
    said = json.dumps([method, path, content], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Repeatable(key, hashlib.sha256(said.encode()).digest())
