"""The far end of a wire, byte by byte: peers that say what a test has written down, and certificates to throw away."""

import asyncio
import contextlib
import inspect
import os
import socket
import ssl
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.clock import Clock

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
"""The one that comes with Python, and the one that we serve on."""

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on a loop of its own, of either kind: what a loop does with a broken connection is its own affair."""

    def run(loop: str, **given: Any) -> None:
        async def within() -> None:
            async with asyncio.timeout(20):
                await test(**given)

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(within())

    parameters = inspect.signature(test).parameters.values()
    asked = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = inspect.Signature([*(each.replace(kind=asked.kind) for each in parameters), asked])  # type: ignore[attr-defined]  # what pytest reads
    run.__name__, run.__module__ = test.__name__, test.__module__
    run.pytestmark = list(getattr(test, "pytestmark", []))  # type: ignore[attr-defined]  # the same
    marked: Callable[..., None] = pytest.mark.parametrize("loop", sorted(LOOPS))(run)
    return marked


@dataclass
class Peer:
    """A server: each connection goes by the next of its conversations, all others by the last one."""

    port: int
    connections: int = 0


@asynccontextmanager
async def peer(
    *conversations: Conversation, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """Listen; a conversation that ends closes its connection, and one that the other side ends is over."""
    speaking: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
    found = Peer(0)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = conversations[min(found.connections, len(conversations) - 1)]
        found.connections += 1
        task = asyncio.create_task(_speak(conversation, reader, writer))
        speaking[task] = writer
        await asyncio.wait({task})
        del speaking[task]

    server = await asyncio.start_server(speak, host, port, ssl=tls, backlog=1000)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task, writer in list(speaking.items()):
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*speaking, return_exceptions=True)


async def _speak(conversation: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        try:
            await conversation(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(2):
                    await writer.wait_closed()


def says(raw: bytes, *, times: int = 1, then: Conversation | None = None) -> Conversation:
    """Return a conversation that answers a request with these bytes, so many times, and goes on as `then` does."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
        if then:
            await then(reader, writer)

    return conversation


async def stays(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Hold the connection until the other side ends it."""
    await reader.read()


async def resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cut the connection with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def answer(body: bytes, *fields: str, status: int = 200) -> bytes:
    """Return an answer with its length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def open_sockets() -> set[int]:
    """Return the sockets of the network that this process has open; a loop has pairs of its own."""
    found: set[int] = set()
    for number in (int(name) for name in os.listdir("/dev/fd")):  # noqa: PTH208  # numbers and no paths
        with contextlib.suppress(OSError):  # the list itself is one, and gone by now
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as copy:
                    found |= {number} if copy.family in {socket.AF_INET, socket.AF_INET6} else set()
    return found


async def settled(count: int) -> None:
    """Return when this process has no more of them open than this; raises `TimeoutError`."""
    async with asyncio.timeout(5):
        while len(open_sockets()) > count:  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def never_accepting(host: str = "127.0.0.1", port: int = 0) -> Any:
    """Give the port of a socket whose queue is full: whoever calls waits for ever."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind((host, port))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()[1]


@dataclass(frozen=True)
class Authority:
    """An authority of an hour: whoever trusts its certificate trusts the servers that it has signed for."""

    certificate: Path
    _key: ec.EllipticCurvePrivateKey
    _folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of this test")])
        signed = _unsigned(name, name, key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        path = folder / "authority.pem"
        path.write_bytes(signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return cls(path, key, folder)

    def server(self, *names: str) -> ssl.SSLContext:
        """Return a server's end for these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes()).subject
        alternatives = x509.SubjectAlternativeName([_general(each) for each in names])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A server of this test")])
        signed = _unsigned(subject, issuer, key).add_extension(alternatives, critical=False)
        path = self._folder / f"{abs(hash(names))}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return context


def _unsigned(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = Clock().now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
