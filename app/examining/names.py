"""Whether the names of hosts lead anywhere, asked in a way that a dead resolver can't hold up.

The loop's own look-ups run in threads that a program waits for at its end; a resolver that is away takes half a minute
for each. Once a name has been found here, the loop's look-up of it finds it, too.
"""

import asyncio
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

_PATIENCE = 4.0  # seconds; half of them are a resolver's first try


class Unresolved(Exception):
    """A host's name leads nowhere; says so in a sentence."""


async def address_of(host: str, port: int) -> str:
    """Return the first address of a host; raises `Unresolved`."""
    if is_address(host):
        return host
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str | None] = loop.create_future()

    def look() -> None:
        try:
            address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
        except (OSError, UnicodeError):
            address = None
        with suppress(RuntimeError):  # the loop has gone, and with it whoever asked
            loop.call_soon_threadsafe(_tell, found, address)

    threading.Thread(target=look, daemon=True).start()
    try:
        async with asyncio.timeout(_PATIENCE):
            address = await found
    except TimeoutError:
        raise Unresolved(f"{host} can't be resolved: the name service does not answer.") from None
    if address is None:
        raise Unresolved(f"{host} can't be resolved.")
    return address


async def refuse_unresolved(hosts: Iterable[str]) -> None:
    """Raise `Unresolved` where none of the hosts that have a name leads anywhere; paths are sockets and pass."""
    named = [host for host in hosts if host and not host.startswith("/")]
    found = await asyncio.gather(*(address_of(host, 0) for host in named), return_exceptions=True)
    errors = [each for each in found if isinstance(each, BaseException)]
    if errors and len(errors) == len(found):
        raise errors[0]


def is_address(host: str) -> bool:
    """Say whether a host is written as a number."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _tell(found: "asyncio.Future[str | None]", address: str | None) -> None:
    if not found.done():
        found.set_result(address)
