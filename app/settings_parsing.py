"""How a setting's text becomes a value; each function refuses what it can't read in one sentence."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import SecretBytes, TypeAdapter

KEY_LENGTH = 32  # AES-256

_DATABASE_SCHEME = re.compile(r"^postgres(ql)?(\+[a-z0-9_]+)?://")
_KEY_ID = re.compile(r"^[A-Za-z0-9_-]{1,32}$")


@dataclass(frozen=True)
class EncryptionKey:
    """One key of the ring, under the id that stands beside everything it sealed."""

    id: str
    secret: SecretBytes = field(repr=False)


def comma_list(text: object) -> object:
    """Split `a, b` into parts; what is not text is passed on."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def duration(text: object) -> object:
    """Read seconds (`90`, `0.25`) or ISO 8601 (`PT30M`)."""
    if not isinstance(text, str):
        return text
    try:
        return timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        return TypeAdapter(timedelta).validate_python(text)


def libpq_url(text: str) -> str:
    """Return a PostgreSQL URL as libpq writes it, with or without a driver's name in what was given."""
    if not _DATABASE_SCHEME.match(text):
        raise ValueError("must begin with postgresql://")
    return _DATABASE_SCHEME.sub("postgresql://", text, count=1)


def encryption_keys(text: object) -> object:
    """Read `id:base64(32 bytes),…`; the first key seals, all of them open."""
    if not isinstance(text, str):
        return text
    keys = tuple(_encryption_key(part.strip()) for part in text.split(",") if part.strip())
    if not keys:
        raise ValueError("at least one key is needed; `partner keys generate` makes one")
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("two keys have the same id")
    return keys


def _encryption_key(text: str) -> EncryptionKey:
    name, _, encoded = text.partition(":")
    if not _KEY_ID.match(name):
        raise ValueError("each key is written id:base64, the id of letters, digits, - and _")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError(f"key {name} is not base64") from error
    if len(secret) != KEY_LENGTH:
        raise ValueError(f"key {name} has {len(secret)} bytes instead of {KEY_LENGTH}")
    return EncryptionKey(name, SecretBytes(secret))
