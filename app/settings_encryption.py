"""Whether what we keep, and what we count, travels to its store encrypted."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from app.urls import is_loopback

_ENCRYPTED_MODES = frozenset({"require", "verify-ca", "verify-full"})
"""The others of libpq go on without encryption where the server, or somebody in between, says that it has none."""

_BRACKETED = re.compile(r"\[([^\]]*)\]")


def unencrypted(database: SecretStr, direct_database: SecretStr | None, counting: SecretStr | None) -> Iterator[str]:
    """Yield a sentence for each store that would be reached over a network in the clear."""
    for name, url in (("DATABASE_URL", database), ("DATABASE_DIRECT_URL", direct_database)):
        if url is not None and not is_database_encrypted(url.get_secret_value()):
            yield (
                f"{name} must say sslmode=verify-full (or verify-ca, require) unless each of its hosts is named and is "
                "a socket or loopback"
            )
    if counting is not None and not is_redis_encrypted(counting.get_secret_value()):
        yield "RATE_LIMIT_URL must be rediss:// unless it leads to a socket or loopback"


def is_database_encrypted(url: str) -> bool:
    """Say whether each connection by a PostgreSQL URL is encrypted, or stays within this machine.

    A URL without a host is not taken for a socket: `PGHOST`, or the service it names, may lead anywhere.
    """
    modes = _query(url).get("sslmode", [])
    if modes and _ENCRYPTED_MODES.issuperset(modes):
        return True
    hosts = database_hosts(url)
    return bool(hosts) and all(_is_here(host) for host in hosts)


def is_certificate_checked(url: str) -> bool:
    """Say whether a PostgreSQL URL asks for a certificate of the very host, the only one that proves whose it is."""
    return _query(url).get("sslmode", [])[-1:] == ["verify-full"]


def database_hosts(url: str) -> list[str]:
    """Return the hosts that a PostgreSQL URL names: names, addresses, and paths of sockets."""
    # Not by `urlsplit`, which takes a list of bracketed hosts in some releases of Python and not in others.
    netloc = url.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[0]
    written = netloc.partition("@")[2] if "@" in netloc else netloc
    return [*_hosts(written), *(host for listed in _query(url).get("host", []) for host in _hosts(listed))]


def _query(url: str) -> dict[str, list[str]]:
    return parse_qs(url.partition("#")[0].partition("?")[2], keep_blank_values=True)


def is_redis_encrypted(url: str) -> bool:
    """The same of a Redis URL."""
    return urlsplit(url).scheme in {"rediss", "unix"} or is_loopback(url)


def _hosts(listed: str) -> Iterator[str]:
    """Yield the hosts of a list with commas, without their ports, as asyncpg reads it."""
    for each in listed.split(",") if listed else ():
        host = unquote(each)
        bracketed = _BRACKETED.match(host)
        yield bracketed[1] if bracketed else host if host.startswith("/") else host.partition(":")[0]


def _is_here(host: str) -> bool:
    """Say whether a host is a Unix socket or this machine's loopback."""
    return host.startswith("/") or is_loopback(f"//[{host}]" if ":" in host else f"//{host}")
