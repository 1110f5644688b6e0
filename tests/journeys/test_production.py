"""The shipped program as production runs it: own process, production settings, over TLS; and what it writes."""

import base64
import datetime as dt
import ipaddress
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.environment import environment
from tests.support.simulated import SimulatedBroker, simulated_broker
from workbench.children import Child, free_port
from workbench.journey import walk

KEY = base64.b64encode(bytes(range(7, 39))).decode()
APP_CODE, API_SECRET = "QX7PLM", "gR8vKq2ZtW5n"  # the simulator's own are refused in production as placeholders


@dataclass(frozen=True)
class Production:
    """A running production service."""

    url: str
    child: Child
    trusted: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a throw-away certificate for this machine's loopback."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)  # noqa: TID251  # a certificate is dated by the machine's clock
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def over_tls(
    database_url: str, own_broker: SimulatedBroker, certificate: tuple[Path, Path], tmp_path: Path
) -> Iterator[Production]:
    """Run two workers of the real command with production settings, at DEBUG."""
    port = free_port()
    url, trusted = f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=certificate[0])
    settings = environment(
        database_url, f"{own_broker.url}/", url, APP_ENV="production", ALLOW_HTTP_BROKER_ON_LOOPBACK="true",
        BROKER_APP_CODE=APP_CODE, BROKER_API_SECRET=API_SECRET, ENCRYPTION_KEYS=f"k1:{KEY}", LOG_LEVEL="DEBUG",
    )  # fmt: skip
    argv = [
        "serve",
        "--port",
        str(port),
        "--workers",
        "2",
        "--certificate",
        str(certificate[0]),
        "--private-key",
        str(certificate[1]),
    ]

    def is_up() -> bool:
        try:
            return httpx.get(f"{url}/readyz", verify=trusted).status_code == 200
        except httpx.TransportError:
            return False

    with Child(
        "production", [sys.executable, "-m", "app", *argv], environment=settings, log=tmp_path / "log", is_ready=is_up
    ) as child:
        own_broker.return_to(f"{url}/sso/callback")
        yield Production(url, child, trusted)


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedBroker]:
    with simulated_broker(
        tmp_path_factory.mktemp("own"), SIMULATOR_APP_CODE=APP_CODE, SIMULATOR_API_SECRET=API_SECRET
    ) as broker:
        yield broker


def test_the_whole_journey_over_tls_with_production_cookies(over_tls: Production, own_broker: SimulatedBroker) -> None:
    steps: list[str] = []
    walk(over_tls.url, steps.append, trusted=over_tls.trusted)
    assert [step.split("  ")[0].strip() for step in steps] == [
        "sign in",
        "profile",
        "funds",
        "holdings",
        "positions",
        "orders",
        "place",
        "cancel",
        "log out",
    ]
    with httpx.Client(base_url=over_tls.url, verify=over_tls.trusted) as browser:
        begun = browser.get("/sso/login")
        back = browser.get("/sso/callback", params=own_broker.code_for("AB1234"))
        for name, answer in (("__Host-login", begun), ("__Host-session", back)):
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith(f"{name}=")
            for part in ("HttpOnly", "Secure", "Path=/", "SameSite=lax"):
                assert part in cookie
            assert "Domain" not in cookie
        assert begun.headers["strict-transport-security"] == "max-age=63072000"
        for path in ("/docs", "/openapi.json", "/portal/", "/"):
            assert browser.get(path).status_code == 404


def test_nothing_that_was_written_at_debug_holds_a_secret(over_tls: Production, own_broker: SimulatedBroker) -> None:
    with httpx.Client(base_url=over_tls.url, verify=over_tls.trusted) as browser:
        browser.get("/sso/login")
        attempt = browser.cookies["__Host-login"]
        parameters = own_broker.code_for("AB1234")
        browser.get("/sso/callback", params=parameters)
        session = browser.cookies["__Host-session"]
        for path in ("profile", "funds", "holdings", "positions", "orders", "trades", "session"):
            assert browser.get(f"/v1/{path}").status_code == 200
        own_broker.break_call("funds", "html200")
        browser.get("/v1/funds")
        own_broker.break_call("exchange", "invalidAuthCode")
        browser.get("/sso/login")
        failed = own_broker.code_for("AB1234")
        browser.get("/sso/callback", params=failed)
    sent = [each for each in own_broker.received() if each["call"] in {"exchange", "funds"}]
    token = next(each["headers"]["authorization"] for each in sent if "authorization" in each["headers"]).removeprefix(
        "Bearer "
    )
    written = over_tls.child.output()
    assert '"route": "/sso/callback"' in written
    assert '"level": "debug"' in written
    secrets = [
        parameters["authCode"], failed["authCode"], attempt, session, token, token.split(".")[1], KEY, API_SECRET,
        "ABCPM1234K", "9876543210", "asha.investor@mail.example", "1208870012345678",
        *(each["body"]["checkSum"] for each in sent if each["call"] == "exchange"),
    ]  # fmt: skip
    assert [secret for secret in secrets if secret in written] == []
