"""What is derived from the master key: one key a purpose, by HKDF-SHA256 (RFC 5869).

The master key itself is used for nothing else. Several may be configured, newest first: new digests take the
newest, and each stored digest names the pepper it was made with.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MASTER_KEY_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Keyring:
    """Derived keys. `peppers` and `sealing` map a public id (16 hex digits) to 32 secret bytes.

    `newest` and `newest_sealing` are the ids in use.
    """

    peppers: dict[str, bytes] = field(repr=False)
    newest: str
    cursor: bytes = field(repr=False)
    """Authenticates page cursors."""
    permits: bytes = field(repr=False)
    """Hides in which entry of the table of rate limits a name is counted."""
    forms: bytes = field(repr=False)
    """Ties the forms of pages to whoever they were shown to."""
    sealing: dict[str, bytes] = field(repr=False)
    """Encrypt what must be read back: `core.sealing`."""
    newest_sealing: str


def read_master_keys(text: str) -> tuple[bytes, ...]:
    """Master keys from their configured text: base64 of 32 bytes each, separated by commas or white space."""
    keys = []
    for part in text.replace(",", " ").split():
        try:
            key = base64.b64decode(part, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is not base64") from None
        if len(key) != MASTER_KEY_LENGTH:
            raise ValueError(f"must be {MASTER_KEY_LENGTH} bytes in base64, not {len(key)}")
        keys.append(key)
    if not keys:
        raise ValueError("is empty")
    if len(set(keys)) != len(keys):
        raise ValueError("names one key twice")
    return tuple(keys)


def derive(master_keys: Sequence[bytes]) -> Keyring:
    """The keyring of these master keys, newest first."""
    peppers = _named(_expand(key, b"ostiary/pepper/1") for key in master_keys)
    sealing = _named(_expand(key, b"ostiary/sealing/1") for key in master_keys)
    return Keyring(
        peppers,
        next(iter(peppers)),
        _expand(master_keys[0], b"ostiary/cursor/1"),
        _expand(master_keys[0], b"ostiary/permits/1"),
        _expand(master_keys[0], b"ostiary/forms/1"),
        sealing,
        next(iter(sealing)),
    )


def _named(keys: Iterable[bytes]) -> dict[str, bytes]:
    """Each key under its public id."""
    return {blake2b(key, digest_size=8, person=b"ostiary-id").hexdigest(): key for key in keys}


def _expand(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)
