"""Whose address a request came from, believing only the proxies that the operator named."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Networks = tuple[IPv4Network | IPv6Network, ...]

_WITH_PORT = re.compile(r"(?:([0-9.]+)|\[([0-9a-fA-F:.]+)\])(?::[0-9]{1,5})?")
_IPV4, _LINE_BITS = 4, 64
_KEPT_BITS = {4: 24, 6: 48}  # what of an address we keep: enough to tell "another city", too little to tell whose


def client_address(peer: str | None, forwarded_for: str | None, trusted: Networks) -> str | None:
    """Return the nearest address that is not a trusted proxy's; `X-Forwarded-For` is read from its end."""
    chain = [*(part.strip() for part in (forwarded_for or "").split(",") if part.strip()), *([peer] if peer else [])]
    nearest = None
    for hop in reversed(chain):
        address = _parsed(hop)
        if address is None:
            return nearest
        nearest = str(address)
        if not any(address in network for network in trusted):
            return nearest
    return nearest


def address_prefix(address: str | None) -> str | None:
    """Return the network that is kept of an address: an IPv4 /24 or an IPv6 /48."""
    parsed = _parsed(address or "")
    return str(ip_network((parsed, _KEPT_BITS[parsed.version]), strict=False)) if parsed else None


def counted_address(address: str | None) -> str:
    """Return under what visits of an address count together: itself, or of IPv6 the /64 that one line is given."""
    parsed = _parsed(address or "")
    if parsed is None:
        return "unknown"
    return str(parsed) if parsed.version == _IPV4 else str(ip_network((parsed, _LINE_BITS), strict=False))


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    with_port = _WITH_PORT.fullmatch(text)  # as some proxies write it
    try:
        parsed = ip_address(next(filter(None, with_port.groups())) if with_port else text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
