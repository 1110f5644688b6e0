"""URLs, origins and sites as browsers understand them."""

from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList

_DEFAULT_PORTS = {"http": 80, "https": 443}


def web_url(text: object) -> str:
    """Return an absolute http or https URL without user or anything a browser might read otherwise."""
    if not isinstance(text, str):
        raise ValueError("must be a URL")  # noqa: TRY004  # pydantic turns ValueError into a setting's refusal
    is_plain = text.isascii() and text.isprintable() and "\\" not in text and " " not in text
    if not is_plain or not _is_absolute(text):
        raise ValueError("must be an absolute http or https URL without a user in it")
    return text


def _is_absolute(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is no port
    except ValueError:
        return False
    return parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and "@" not in parts.netloc


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL as browsers write an origin: lower case, default port left out."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    is_default = parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)}
    return f"{parts.scheme}://{shown}" if is_default else f"{parts.scheme}://{shown}:{parts.port}"


def is_loopback(url: str) -> bool:
    """Say whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def is_same_site(one: str, other: str) -> bool:
    """Say whether a browser counts two URLs as one site: same scheme and same registrable domain."""
    first, second = urlsplit(one), urlsplit(other)
    return first.scheme == second.scheme and _site(first.hostname or "") == _site(second.hostname or "")


def is_address(host: str) -> bool:
    """Say whether a host is a number and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@cache
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _site(host: str) -> str:
    if is_address(host) or "." not in host:
        return host
    return _public_suffixes().privatesuffix(host) or host
