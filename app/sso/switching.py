"""Leave to put another client in the place of the one who is signed in: only from us, only for this very session.

Who is led to our sign-in by somebody else's link must not end in somebody else's account. The leave is told to the
browser that holds the session, on the page or in the problem that says who has come back, and nobody else can write it.
"""

import base64
import hmac

from pydantic import SecretStr

from app.safeguards.sealing import CannotOpen, KeyRing
from app.sessions.tokens import token_hash

_PURPOSE = "switch-client"


def leave_to_switch(ring: KeyRing, session: SecretStr, *, key_id: str | None = None) -> str:
    """Return the leave for the session of this token, fit for an address; raises `CannotOpen` without the key."""
    by = key_id or ring.sealing_key_id
    signature = ring.sign(_PURPOSE, token_hash(session), key_id=by)
    return f"{by}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def is_leave(ring: KeyRing, session: SecretStr | None, given: str | None) -> bool:
    """Say whether what an address brings is the leave for the session of this browser."""
    if session is None or not given:
        return False
    try:
        expected = leave_to_switch(ring, session, key_id=given.partition(".")[0])
    except CannotOpen:
        return False
    return hmac.compare_digest(expected.encode(), given.encode())
