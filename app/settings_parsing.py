"""How a setting's text becomes a value; each function refuses what it can't read in one sentence."""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretBytes, TypeAdapter

from app.limits import CONTRACT, Limits, parse_limits

KEY_LENGTH = 32  # AES-256

_DATABASE_SCHEME = re.compile(r"^postgres(ql)?(\+[a-z0-9_]+)?://")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.%-]*)(:[0-9]{1,5})?")
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})
_REDIS_TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
"""Files for a store of an authority of one's own. Nothing that would switch the check of its certificate off."""
_REDIS_DATABASE = re.compile(r"[0-9]{1,5}")
KEY_ID = re.compile(r"^[A-Za-z0-9_-]{1,32}$")


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


_SHORTEST_HOURS, _SHORTEST_DAYS = timedelta(hours=1), timedelta(days=30)
_LONGEST_KEPT = timedelta(days=36_525)  # a hundred years: so long ago is still a date


def kept_for_hours(length: timedelta) -> timedelta:
    """Refuse to keep for less than an hour what a sign-in that is under way may still need."""
    if not _SHORTEST_HOURS <= length <= _LONGEST_KEPT:
        raise ValueError("must be between an hour and a hundred years")
    return length


def kept_for_days(length: timedelta) -> timedelta:
    """Refuse to forget an order while a request with its key may still come again."""
    if not _SHORTEST_DAYS <= length <= _LONGEST_KEPT:
        raise ValueError("must be between 30 days and a hundred years")
    return length


def json_object(text: object) -> object:
    """Read a JSON object."""
    if not isinstance(text, str):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004  # pydantic turns ValueError into a setting's refusal
    return found


def user_limits(text: object) -> object:
    """Read a user's limits; what is not named is as the broker has it."""
    return parse_limits(text, CONTRACT) if isinstance(text, str) else text


def app_limits(text: object) -> object:
    """Read the whole app's limits; what is not named, and `off`, is not limited."""
    nothing: Limits = {}
    if not isinstance(text, str):
        return text
    return nothing if text.strip().lower() == "off" else parse_limits(text, nothing)


def redis_url(url: str) -> str:
    """Return the address of a Redis or Valkey; raises `ValueError` without a word of it, for it may hold a password."""
    try:
        is_right = _is_redis_url(url)
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError(
            "must be redis://host:port/number, rediss://… or unix:///path?db=number; in a password / ? # @ : [ ] must "
            "be percent-encoded"
        )
    return url


def _is_redis_url(url: str) -> bool:
    parts = urlsplit(url)
    query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    path, is_socket = parts.path.strip("/"), parts.scheme == "unix"
    numbers = [*query.get("db", []), *([path] if path and not is_socket else [])]
    has_place = bool(path) if is_socket else bool(parts.hostname) and (parts.port or 1) > 0 and "@" not in path
    known = {"db", *_REDIS_TLS} if parts.scheme == "rediss" else {"db"}
    is_known = parts.scheme in _REDIS_SCHEMES and query.keys() <= known
    has_certificate = "ssl_certfile" in query or "ssl_keyfile" not in query  # a key alone certifies nothing
    return has_place and is_known and has_certificate and all(_REDIS_DATABASE.fullmatch(each) for each in numbers)


def reuse_times(text: object) -> object:
    """Read seconds for every read (`1`), and others for single ones (`1,profile=60`)."""
    if not isinstance(text, str):
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = {name.strip() or "": seconds for name, _, seconds in (part.rpartition("=") for part in parts)}
    if unknown := found.keys() - {"", *READS}:
        raise ValueError(f"there is no read {', '.join(sorted(unknown))}; there are {', '.join(READS)}")
    if len(found) < len(parts):
        raise ValueError("a read is named twice")
    return {"": _REUSE_SECONDS} | found


_REUSE_SECONDS = 1.0
READS = ("orders", "trades", "holdings", "positions", "funds", "profile", "history")
"""What is asked often enough that an answer may be shown again: the reads of the API, the last one of one order."""


def libpq_url(text: str) -> str:
    """Return a PostgreSQL URL as libpq writes it, with or without a driver's name in what was given."""
    if not _DATABASE_SCHEME.match(text):
        raise ValueError("must begin with postgresql://")
    url = _DATABASE_SCHEME.sub("postgresql://", text, count=1)
    if not _is_readable(url):
        raise ValueError("can't be read; in a password / ? # @ : [ ] must be percent-encoded")
    return url


def _is_readable(url: str) -> bool:
    """Say whether host, port and query of a database's URL are such; several hosts may stand behind commas."""
    try:
        parts = urlsplit(url)
        parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return "@" not in parts.path + parts.query and all(_HOST.fullmatch(host) for host in hosts)


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
    if not KEY_ID.match(name):
        raise ValueError("each key is written id:base64, the id of letters, digits, - and _")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError(f"key {name} is not base64") from error
    if len(secret) != KEY_LENGTH:
        raise ValueError(f"key {name} has {len(secret)} bytes instead of {KEY_LENGTH}")
    return EncryptionKey(name, SecretBytes(secret))


_PLACEHOLDER = re.compile(
    r"change.?me|replace.?me|placeholder|simulator|^your|^<.*>$|^(.)\1*$"
    r"|^(api.?|my.?)?(secret|password|key)$|^(todo|fixme|tbd|none|null|test|dummy|example|sample|demo|default|abc)\d*$|^123\d*$",
    re.IGNORECASE,
)
_DISTINCT_BYTES = 8  # 32 random bytes practically never have fewer than 20 different values


def is_no_random_key(secret: bytes) -> bool:
    """Say whether somebody has typed a key: one that can be read, or says the same again and again."""
    return len(set(secret)) < _DISTINCT_BYTES or (secret.isascii() and secret.decode().isprintable())


def is_placeholder(secret: str) -> bool:
    """Say whether a secret is one that somebody was to replace."""
    return _PLACEHOLDER.search(secret) is not None
