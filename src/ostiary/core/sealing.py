"""Encryption of what must be read back: AES-256-GCM under a key that is not in the database.

What is sealed is bound to its place (table, id and version of the form): moved to another row, it does not open.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ostiary.core.keyring import Keyring

NONCE: Final = 12
"""Random bytes that `seal` takes."""


class SealedError(ValueError):
    """What was sealed does not open here."""


def seal(keyring: Keyring, place: str, plain: bytes, nonce: bytes) -> tuple[str, bytes]:
    """The id of the key in use, and nonce and ciphertext. Never the same nonce twice."""
    if len(nonce) != NONCE:
        raise ValueError(f"a nonce has {NONCE} bytes")
    sealed = AESGCM(keyring.sealing[keyring.newest_sealing]).encrypt(nonce, plain, place.encode())
    return keyring.newest_sealing, nonce + sealed


def unseal(keyring: Keyring, place: str, sealing_id: str, sealed: bytes) -> bytes:
    """What was sealed at this place. Raises SealedError if its key is gone, or if it was changed or moved."""
    key = keyring.sealing.get(sealing_id)
    if key is None:
        raise SealedError("the key that it was sealed with is not configured")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], place.encode())
    except (InvalidTag, ValueError):
        raise SealedError("was changed, or stands in another place") from None
