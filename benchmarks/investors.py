"""Investors who are signed in: at ours by the real way over the broker's login, at the rivals by their own rows."""

import base64
import hashlib
import secrets
import string
from collections.abc import Callable, Iterable, Sequence
from http.cookies import SimpleCookie

import asyncpg
import httpx
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.broker_samples import token_of
from benchmarks.stub_broker import StubBroker

_CODE, _CODE_LENGTH = string.ascii_uppercase + string.digits, 20
_PATIENCE = 30.0  # seconds for one sign-in

Seal = Callable[[str], bytes]
"""Returns a user's broker token as a rival stores it."""


def names(prefix: str, count: int) -> list[str]:
    """Return so many users' ids."""
    return [f"{prefix}{number:03}" for number in range(count)]


def sign_in(port: int, broker: StubBroker, users: Iterable[str]) -> list[str]:
    """Take users through `/sso/login` and `/sso/callback` of ours, and return what their browsers then send."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE, trust_env=False) as browser:
        return [_signed_in(browser, broker, each) for each in users]


def _signed_in(browser: httpx.Client, broker: StubBroker, user_id: str) -> str:
    broker.expect_login(user_id)
    attempt = _cookie(browser.get("/sso/login"), "__Host-login")
    code = "".join(secrets.choice(_CODE) for _ in range(_CODE_LENGTH))
    back = browser.get("/sso/callback", params={"authCode": code, "userId": user_id}, headers={"Cookie": attempt})
    return _cookie(back, "__Host-session")


def _cookie(answer: httpx.Response, name: str) -> str:
    """Return a cookie that an answer sets, as it is sent back; it is for TLS alone, so that no client here would."""
    set_by_it = SimpleCookie()
    for each in answer.headers.get_list("set-cookie"):
        set_by_it.load(each)
    if name not in set_by_it:
        raise AssertionError(f"no {name} was set: {answer.status_code} {answer.text[:300]}")
    return f"{name}={set_by_it[name].value}"


def fernet(key: str) -> Seal:
    """Return how the obvious design stores a token."""
    box = Fernet(key)
    return lambda user_id: box.encrypt(token_of(user_id).encode())


def aes_gcm(key: str) -> Seal:
    """Return how the Fastify design stores a token: nonce, content, tag."""
    box = AESGCM(base64.b64decode(key))

    def seal(user_id: str) -> bytes:
        nonce = secrets.token_bytes(12)
        return nonce + box.encrypt(nonce, token_of(user_id).encode(), user_id.encode())

    return seal


async def store_at_rival(url: str, schema: str, users: Sequence[str], seal: Seal) -> list[str]:
    """Make a rival's tables and sign users in there; returns what their browsers then send."""
    tokens = [secrets.token_urlsafe(32) for _ in users]
    hashes = [hashlib.sha256(each.encode()).digest() for each in tokens]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(schema)
        await connection.executemany("INSERT INTO users VALUES ($1, 'Asha Menon')", [(each,) for each in users])
        await connection.executemany(
            "INSERT INTO sessions (token_hash, user_id, expires_at) VALUES ($1, $2, now() + interval '1 day')",
            list(zip(hashes, users, strict=True)),
        )
        await connection.executemany(
            "INSERT INTO broker_tokens VALUES ($1, $2, now() + interval '1 day')",
            [(each, seal(each)) for each in users],
        )
    finally:
        await connection.close()
    return [f"__Host-session={each}" for each in tokens]
