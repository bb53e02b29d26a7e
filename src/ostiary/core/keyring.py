"""Keys derived from the master key: one for each purpose, by HKDF-SHA256 (RFC 5869).

The master key is used for nothing else. Several may be configured, the newest first. New digests use the newest, and
each stored digest names the pepper that it was made with.
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
    """Derived keys. `peppers` and `sealing` map a public id (16 hex digits) to a secret of 32 bytes.

    `newest` and `newest_sealing` are the ids of the keys for new digests and new sealed data.
    """

    peppers: dict[str, bytes] = field(repr=False)
    newest: str
    cursor: bytes = field(repr=False)
    """Authenticates page cursors."""
    permits: bytes = field(repr=False)
    """Hides which entry of the rate limit table belongs to a name."""
    forms: bytes = field(repr=False)
    """Binds the forms of pages to the browser that they were shown to."""
    sealing: dict[str, bytes] = field(repr=False)
    """Encrypt stored data that must be read back: `core.sealing`."""
    newest_sealing: str


def read_master_keys(text: str) -> tuple[bytes, ...]:
    """Return the master keys of a setting: base64 of 32 bytes each, separated by commas or white space. Raises
    ValueError."""
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
        raise ValueError("contains one key twice")
    return tuple(keys)


def derive(master_keys: Sequence[bytes]) -> Keyring:
    """Return the keyring of these master keys, of which the newest is first."""
    peppers = _by_id(_expand(key, b"ostiary/pepper/1") for key in master_keys)
    sealing = _by_id(_expand(key, b"ostiary/sealing/1") for key in master_keys)
    return Keyring(
        peppers,
        next(iter(peppers)),
        _expand(master_keys[0], b"ostiary/cursor/1"),
        _expand(master_keys[0], b"ostiary/permits/1"),
        _expand(master_keys[0], b"ostiary/forms/1"),
        sealing,
        next(iter(sealing)),
    )


def _by_id(keys: Iterable[bytes]) -> dict[str, bytes]:
    """Return the keys by their public ids."""
    return {blake2b(key, digest_size=8, person=b"ostiary-id").hexdigest(): key for key in keys}


def _expand(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)
