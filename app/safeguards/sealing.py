"""The ring of keys: what is stored sealed opens only in the row it was sealed for, and sub-keys sign the rest.

AES-256-GCM with 96 random bits of nonce (NIST SP 800-38D, 8.2.2); one seal per sign-in stays far below its bound.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from app.clock import random_bytes
from app.settings_parsing import EncryptionKey

_NONCE_LENGTH = 12


class CannotOpen(Exception):
    """What is stored was sealed by a key that the ring lacks, for another row, or was tampered with."""


@dataclass(frozen=True)
class Place:
    """Where a sealed value belongs; it opens nowhere else."""

    table: str
    column: str
    row_id: str


@dataclass(frozen=True)
class Sealed:
    """A nonce and the sealed value behind it, and the id of the key that opens it."""

    key_id: str
    content: bytes = field(repr=False)


class KeyRing:
    """The first key seals and signs; every key opens and verifies."""

    def __init__(self, keys: tuple[EncryptionKey, ...]) -> None:
        self._secrets = {key.id: key.secret.get_secret_value() for key in keys}
        self._subkeys: dict[tuple[str, str], bytes] = {}
        self.sealing_key_id = keys[0].id

    @property
    def key_ids(self) -> frozenset[str]:
        return frozenset(self._secrets)

    def seal(self, secret: SecretStr, place: Place) -> Sealed:
        key_id, nonce = self.sealing_key_id, random_bytes(_NONCE_LENGTH)
        content = AESGCM(self._secrets[key_id]).encrypt(
            nonce, secret.get_secret_value().encode(), _associated(place, key_id)
        )
        return Sealed(key_id, nonce + content)

    def open(self, sealed: Sealed, place: Place) -> SecretStr:
        """Return what was sealed; raises `CannotOpen`."""
        secret = self._secrets.get(sealed.key_id)
        if secret is None:
            raise CannotOpen(f"the ring has no key {sealed.key_id}")
        nonce, content = sealed.content[:_NONCE_LENGTH], sealed.content[_NONCE_LENGTH:]
        try:
            return SecretStr(AESGCM(secret).decrypt(nonce, content, _associated(place, sealed.key_id)).decode())
        except (InvalidTag, ValueError) as error:  # too short to be anything of ours
            raise CannotOpen("sealed for another place, or tampered with") from error

    def sign(self, purpose: str, message: bytes, *, key_id: str | None = None) -> bytes:
        """Return HMAC-SHA-256 of `message` by the sub-key for `purpose` of one key, by default the first.

        Raises `CannotOpen` when the ring has no such key.
        """
        return hmac.digest(self._subkey(purpose, key_id or self.sealing_key_id), message, hashlib.sha256)

    def _subkey(self, purpose: str, key_id: str) -> bytes:
        secret = self._secrets.get(key_id)
        if secret is None:
            raise CannotOpen(f"the ring has no key {key_id}")
        known = self._subkeys.get((purpose, key_id))
        if known is None:
            known = HKDF(SHA256(), length=32, salt=None, info=f"gopocket-partner/{purpose}".encode()).derive(secret)
            self._subkeys[purpose, key_id] = known
        return known


def _associated(place: Place, key_id: str) -> bytes:
    return f"{place.table}\x1f{place.column}\x1f{place.row_id}\x1f{key_id}".encode()
