"""The proof that we are the vendor whose app code stood in the login URL."""

import hashlib

from pydantic import SecretStr


def checksum(user_id: str, auth_code: str, api_secret: SecretStr) -> SecretStr:
    """Return lower-case hex SHA-256 of userId + authCode + apiSecret, plainly concatenated, in UTF-8.

    `user_id` and `auth_code` go in exactly as the browser brought them (introduction.md, "Implementation of SSO",
    step 4); an SDK upper-cases the user id first, the page does not.
    """
    text = user_id + auth_code + api_secret.get_secret_value()
    return SecretStr(hashlib.sha256(text.encode()).hexdigest())
