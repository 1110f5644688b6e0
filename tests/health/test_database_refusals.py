"""Why the database is not to be had: an operator is told what to mend, and never reads his URL in it."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.db import reason_of
from app.problems import TemporarilyUnavailable
from tests.conftest import create_clone
from tests.support.ledgers import opened

UNTRUSTED = (
    "The database's certificate is not to be trusted: it is not of the authority in sslrootcert, not for this host, or "
    "out of date."
)
NO_TLS = (
    "No encrypted connection to the database can be made: it speaks no TLS that we do, or a file of sslrootcert, "
    "sslcert, sslkey, sslcrl is no such thing."
)

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def certificate(folder: Path, host: str) -> Path:
    """Make a certificate that is its own authority, with its key in the same file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)  # noqa: TID251  # a certificate is dated by the machine's clock
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    file = folder / f"{host}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return file


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[str]:
    """Give the URL of somebody who answers a request for TLS in this way."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(8)  # SSLRequest
            await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # who asked has turned away, as he was to
        finally:
            writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://partner:hunter2@127.0.0.1:{server.sockets[0].getsockname()[1]}/partner"


async def without_tls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"N")
    await writer.drain()


async def garbled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"S")
    await reader.read(1)
    writer.write(b"this is no TLS")
    await writer.drain()


def with_tls(file: Path) -> Answer:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(context)
        await reader.read(1)

    return answer


async def told(url: str) -> str:
    """Return what an operator is told who uses this URL."""
    db = opened(url)
    try:
        with pytest.raises(TemporarilyUnavailable) as refused:
            await db.schema_revision()
    finally:
        await db.aclose()
    return reason_of(refused.value)


@pytest.fixture(autouse=True)
def no_certificates_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sslmode=require", "The database offers no encryption, and sslmode asks for it."),
        (
            "sslmode=verify-full",
            "sslmode asks for the database's certificate to be checked, and no sslrootcert says by which authority.",
        ),
        (
            "sslmode=verify-full&sslrootcert=system",
            "There is no file where the database's URL names one as sslrootcert.",
        ),
        ("sslmode=require&sslcert=/no/where&sslkey=/no/key", "one as sslcert and sslkey."),
        ("sslmode=require&sslrootcert=/dev/null", NO_TLS),
        ("sslmode=sometimes", "The database's URL says what can't be done."),
    ],
)
async def test_what_the_url_asks_for_in_vain_is_said(query: str, sentence: str) -> None:
    async with listening(without_tls) as url:
        said = await told(f"{url}?{query}")
    assert said.endswith(sentence)
    assert "hunter2" not in said


async def test_a_certificate_that_is_not_to_be_trusted_is_said(tmp_path: Path) -> None:
    ours, anothers = certificate(tmp_path, "127.0.0.1"), certificate(tmp_path, "127.0.0.2")
    async with listening(with_tls(ours)) as url:
        assert await told(f"{url}?sslmode=verify-full&sslrootcert={anothers}") == UNTRUSTED
    async with listening(with_tls(anothers)) as url:
        assert await told(f"{url}?sslmode=verify-full&sslrootcert={anothers}") == UNTRUSTED  # of another host
        assert await told(f"{url}?sslmode=verify-ca&sslrootcert={anothers}") != UNTRUSTED
    async with listening(garbled) as url:
        assert await told(f"{url}?sslmode=require") == NO_TLS


async def test_a_socket_that_is_not_there_is_no_missing_certificate() -> None:
    assert await told("postgresql:///partner?host=/no/where") == "The database can't be reached."


async def test_a_database_that_lets_wait_is_told_from_one_that_is_not_there(worker: str) -> None:
    url = await create_clone(f"waiting_{worker}")
    rows = await asyncpg.connect(url)
    async with rows.transaction():
        await rows.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        assert (await told(url)).startswith("The database did not answer in time: ")
    await rows.close()
