"""From which address the broker sees us: since 2026-04-01 orders by API have to come from one that is registered."""

import json
import socket
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from app.broker.transport import Transport
from app.clock import monotonic
from app.examining.findings import Finding, failed, ok, warning
from app.examining.names import Unresolved, address_of
from app.limits import Category, Demand, Permit
from app.problems import Problem
from app.settings import Settings

CHECK = "egress address"

_DEADLINE = timedelta(seconds=4)
_DEMAND = Demand(Category.NON_TRADING)
_GOOD = 200
_LONGEST = 200  # characters of an answer that holds an address

Address = IPv4Address | IPv6Address


class _Uncounted:
    """Leave for calls that do not go to the broker, whose limits they are no matter of."""

    permit_life = 60.0

    async def take(self, demand: Demand) -> Permit:
        return Permit(demand, monotonic())

    async def pause(self, demand: Demand, told: float | None) -> float:  # noqa: ARG002  # nobody limits us here
        return 0.0


class _Unknown(Exception):
    """Our address could not be found out; says why."""


@dataclass(frozen=True)
class _Seen:
    address: Address
    by: str
    is_ours_outside: bool
    """Whether it is the address by which we are seen outside, whatever translates addresses in between."""


async def examine_egress(settings: Settings, *, is_offline: bool) -> list[Finding]:
    """Return one line that says which address was compared."""
    asks = settings.egress_address_url is not None and not is_offline
    looking: Awaitable[_Seen] = _asked(settings.egress_address_url or "") if asks else _local(settings.broker_base_url)
    try:
        seen = await looking
    except _Unknown as error:
        told = f"It can't be found out: {error} Check EGRESS_ADDRESS_URL."
        return [warning(CHECK, told if settings.egress_address_url else f"It can't be found out: {error}")]
    if not settings.expected_egress_ips:
        if not settings.is_production:
            return [ok(CHECK, f"{seen.address} ({seen.by}); EXPECTED_EGRESS_IPS names none to compare it with.")]
        return [
            warning(
                CHECK,
                f"{seen.address} ({seen.by}). Orders by API need a registered static address: register it at Gopocket "
                "and name it in EXPECTED_EGRESS_IPS.",
            )
        ]
    return [_compared(settings, seen)]


def _compared(settings: Settings, seen: _Seen) -> Finding:
    told = f"{seen.address} ({seen.by})"
    if any(seen.address in network for network in settings.expected_egress_ips):
        return ok(CHECK, f"{told} is among EXPECTED_EGRESS_IPS.")
    expected = ", ".join(str(network.network_address) if network.num_addresses == 1 else str(network)
                         for network in settings.expected_egress_ips)  # fmt: skip
    if not seen.is_ours_outside and not seen.address.is_global:
        return warning(
            CHECK,
            f"{told} is no address of the internet, so that something translates it: set EGRESS_ADDRESS_URL to compare "
            f"with {expected}.",
        )
    return failed(
        CHECK,
        f"{told} is not among EXPECTED_EGRESS_IPS ({expected}): the broker will refuse orders. Mend the way out, or "
        "register the address at Gopocket.",
    )


async def _local(broker_url: str) -> _Seen:
    """Return the address that this machine itself has towards the broker; nothing is sent."""
    parts = urlsplit(broker_url)
    try:
        theirs = await address_of(parts.hostname or "", parts.port or 443)
        family = socket.AF_INET6 if ":" in theirs else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:  # to connect it only chooses the way
            probe.connect((theirs, parts.port or 443))
            ours = ip_address(str(probe.getsockname()[0]))
    except Unresolved as error:
        raise _Unknown(str(error)) from error
    except OSError as error:
        raise _Unknown(f"there is no way to the broker ({error.strerror}).") from error
    return _Seen(ours, "this machine's own, towards the broker", is_ours_outside=False)


async def _asked(url: str) -> _Seen:
    """Return the address by which a service outside sees us."""
    parts = urlsplit(url)
    transport = Transport.open(f"{parts.scheme}://{parts.netloc}/", timedelta(seconds=2), _Uncounted())
    page = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
    try:
        await address_of(parts.hostname or "", parts.port or 443)
        answer = await transport.send("GET", page, demand=_DEMAND, deadline=_DEADLINE)
    except Unresolved as error:
        raise _Unknown(str(error)) from error
    except Problem as problem:
        raise _Unknown("the service that tells our address does not answer.") from problem
    finally:
        await transport.aclose()
    if answer.status != _GOOD:
        raise _Unknown(f"the service that tells our address answers {answer.status}.")
    return _Seen(_read(answer.body), f"as {parts.hostname} sees us", is_ours_outside=True)


def _read(body: bytes) -> Address:
    """Return the address in an answer, plain or as `{"ip": …}`; raises `_Unknown`."""
    said = body[:_LONGEST].decode("utf-8", "replace").strip()
    try:
        if said.startswith("{"):
            content = json.loads(said)
            said = str(content.get("ip", ""))
        return ip_address(said)
    except ValueError as error:
        raise _Unknown("the service that tells our address answers with none.") from error
