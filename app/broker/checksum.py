"""The proofs that rest on the secret we share with the broker: ours at the exchange, its own at an older webhook."""

import hashlib
import hmac
from collections.abc import Mapping

from pydantic import SecretStr


def is_posted_by_broker(payload: Mapping[str, object], api_secret: SecretStr) -> bool:
    """Say whether the checksum of an order update is SHA-256(order_id + order_timestamp + apiSecret), in hex.

    The broker's older page of its webhook has it (docs/broker.md, "Order webhook"); the newer one has none.
    """
    said = [payload.get(name) for name in ("order_id", "order_timestamp", "checksum")]
    if not all(isinstance(each, str | int) for each in said):
        return False
    order_id, moment, given = (str(each) for each in said)
    text = f"{order_id}{moment}{api_secret.get_secret_value()}"
    expected = hashlib.sha256(text.encode(errors="replace")).hexdigest()  # JSON can hold half a character
    return hmac.compare_digest(expected.encode(), given.strip().lower().encode(errors="replace"))


def checksum(user_id: str, auth_code: str, api_secret: SecretStr) -> SecretStr:
    """Return lower-case hex SHA-256 of userId + authCode + apiSecret, plainly concatenated, in UTF-8.

    `user_id` and `auth_code` go in exactly as the browser brought them (introduction.md, "Implementation of SSO",
    step 4); an SDK upper-cases the user id first, the page does not.
    """
    text = user_id + auth_code + api_secret.get_secret_value()
    return SecretStr(hashlib.sha256(text.encode()).hexdigest())
