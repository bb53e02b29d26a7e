"""Authenticated encryption for stored data that must be read back: AES-256-GCM with a key that is not in the database.

Sealed data is bound to its place (table, id and format version). It does not open in another row.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ostiary.core.keyring import Keyring

NONCE: Final = 12
"""Length of the random nonce that `seal` takes, in bytes."""


class SealedError(ValueError):
    """The sealed data cannot be opened: the key is missing, or the data was changed or moved."""


def seal(keyring: Keyring, place: str, plain: bytes, nonce: bytes) -> tuple[str, bytes]:
    """Encrypt with the newest key. Return the key's id, and nonce plus ciphertext. Never pass the same nonce twice."""
    if len(nonce) != NONCE:
        raise ValueError(f"a nonce has {NONCE} bytes")
    sealed = AESGCM(keyring.sealing[keyring.newest_sealing]).encrypt(nonce, plain, place.encode())
    return keyring.newest_sealing, nonce + sealed


def unseal(keyring: Keyring, place: str, sealing_id: str, sealed: bytes) -> bytes:
    """Return the plain text that was sealed at this place. Raises SealedError if the key is missing or the data does
    not match."""
    key = keyring.sealing.get(sealing_id)
    if key is None:
        raise SealedError("the master key that it was sealed with is not configured")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], place.encode())
    except (InvalidTag, ValueError):
        raise SealedError("it was changed, or moved to another row") from None
