"""The opaque id that a browser holds: 256 bits that nobody can guess, of which we keep only a hash."""

import base64
import hashlib

from pydantic import SecretStr

from app.safeguards.sealing import KeyRing

_ENCODED_LENGTH = 43  # 32 bytes in base64url without padding


def session_token(ring: KeyRing, key_id: str, attempt_id: bytes, auth_code: str) -> SecretStr:
    """Return the token of the session that this attempt and this code begin.

    It is derived, not drawn, so that a reload of the callback ends in the same session instead of a second one;
    without the ring's key it is as unguessable as a drawn one (docs/decisions/0009).
    """
    digest = ring.sign("session-token", attempt_id + auth_code.encode(), key_id=key_id)
    return SecretStr(base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


def token_hash(token: SecretStr) -> bytes:
    """Return what the database knows a session by."""
    return hashlib.sha256(token.get_secret_value().encode()).digest()


def token_of_cookie(content: str | None) -> SecretStr | None:
    """Return the token in a cookie, none for what can't be one of ours."""
    if content is None or len(content) != _ENCODED_LENGTH or not content.isascii():
        return None
    return SecretStr(content)
