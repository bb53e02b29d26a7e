"""The format of secrets: create from given bytes, parse, digest, redact.

The form is `<prefix><access id><secret>`: `ak-`, then 32 public hexadecimal digits, then 44 characters. The first 38
of them are random base62 (226 bits); the last 6 are the base62 CRC-32 of everything before. The checksum proves
nothing. It saves a look-up for a mistyped key, and lets a secret scanner recognise a key offline.
"""

import re
import uuid
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b, sha256
from hmac import compare_digest
from zlib import crc32

ACCESS_ID_LENGTH = 32
RANDOM_LENGTH = 38
CHECKSUM_LENGTH = 6
SECRET_LENGTH = RANDOM_LENGTH + CHECKSUM_LENGTH
CLIENT_SECRET = "secret_"  # noqa: S105 - a prefix, not a secret
SESSION = "session_"
REFRESH = "refresh_"
CODE = "code_"
DEVICE_CODE = "device_"
RESET = "reset_"
OTHER_PREFIXES = (CLIENT_SECRET, SESSION, REFRESH, CODE, DEVICE_CODE, RESET)
"""Prefixes of secrets that are not API keys. They are never accepted as one."""
SECRET_ENTROPY = 16 + 48
"""Bytes that `mint` takes: 16 for the access id, 48 for the random part (modulo bias below 2⁻¹⁵⁰)."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [left + right for left in _ALPHABET for right in _ALPHABET]
_BODY = re.compile(rb"[0-9a-f]{32}[0-9A-Za-z]{44}")
_ACCESS_ID = re.compile(r"[0-9a-f]{32}")
_WHOLE = re.compile(r"([A-Za-z][A-Za-z0-9]{1,15}[-_][0-9a-f]{32})([0-9A-Za-z]{44})")
# The same, but anchored at the hyphen or underscore, so that searching a long text takes linear time.
_ANYWHERE = re.compile(r"[-_](?<=[A-Za-z0-9]{2}[-_])[0-9a-f]{32}[0-9A-Za-z]{44}")
# Without the letters of the prefix: they may be the end of a secret just before it.
_PART = re.compile(r"([-_][0-9a-f]{32})[0-9A-Za-z]+")
# The first line of a private key of any type (RFC 7468). The key follows it.
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----).*", re.DOTALL)
_PREFIX = re.compile(r"[a-z][a-z0-9]{1,11}")


class Secret:
    """A text that prints as `***`, so that it is not logged by mistake. `reveal()` returns the text and is easy to
    search for."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A new secret, and the parts of it that may be stored in clear."""

    secret: Secret
    access_id: str
    last6: str


def prefix_of(name: str) -> str:
    """Return the key prefix as it appears in keys: `ak` → `ak-`. Raises ValueError if the name is not a valid prefix."""
    if _PREFIX.fullmatch(name) is None:
        raise ValueError("must be 2 to 12 lower-case letters and digits, and begin with a letter")
    return name + "-"


def create(prefix: str, entropy: bytes) -> NewSecret:
    """Create a secret from `SECRET_ENTROPY` random bytes. Deterministic. Raises ValueError for another number of bytes."""
    if len(entropy) != SECRET_ENTROPY:
        raise ValueError(f"mint takes {SECRET_ENTROPY} bytes")
    return assemble(prefix, access_id(entropy[:16]), entropy[16:])


def assemble(prefix: str, public: str, random: bytes) -> NewSecret:
    """Create a secret from an access id (32 hexadecimal digits) and the 48 bytes of the random part."""
    body = f"{prefix}{public}{_base62(int.from_bytes(random) % 62**RANDOM_LENGTH, RANDOM_LENGTH)}"
    text = body + checksum(body.encode())
    return NewSecret(Secret(text), public, text[-CHECKSUM_LENGTH:])


def access_id(entropy: bytes) -> str:
    """Return a public id made from 16 random bytes: a UUID (version 4) without hyphens."""
    return uuid.UUID(bytes=entropy, version=4).hex


def is_access_id(text: str) -> bool:
    """Return whether the text has the form of an access id."""
    return _ACCESS_ID.fullmatch(text) is not None


def claimed_id(text: bytes, prefixes: tuple[bytes, ...]) -> str | None:
    """Return the access id at its place in a text of the right prefix and length, unchecked. Only the digest proves
    it."""
    for prefix in prefixes:
        if len(text) == len(prefix) + ACCESS_ID_LENGTH + SECRET_LENGTH and text.startswith(prefix):
            return text[len(prefix) : len(prefix) + ACCESS_ID_LENGTH].decode("latin-1")
    return None


def parse(text: bytes, prefixes: tuple[bytes, ...]) -> str | None:
    """Return the access id if the text is a well-formed secret with one of these prefixes and a valid checksum, else
    None."""
    public = claimed_id(text, prefixes)
    if public is None or _BODY.fullmatch(text, len(text) - ACCESS_ID_LENGTH - SECRET_LENGTH) is None:
        return None
    return public if checksum(text[:-CHECKSUM_LENGTH]).encode() == text[-CHECKSUM_LENGTH:] else None


def checksum(body: bytes) -> str:
    """Return the CRC-32 in base62, left-padded with 0 to six characters."""
    # Two digits at a time, for speed: this runs before every look-up.
    rest, last = divmod(crc32(body), len(_PAIRS))
    first, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[first] + _PAIRS[middle] + _PAIRS[last]


def digest(text: bytes, pepper: bytes) -> bytes:
    """Return the digest that is stored instead of a secret: keyed BLAKE2b over the secret's SHA-256, 32 bytes.

    The inner SHA-256 lets an imported digest be stored like our own. 226 random bits need no slow hash.
    """
    return digest_of_sha256(sha256(text).digest(), pepper)


def digest_of_sha256(inner: bytes, pepper: bytes) -> bytes:
    """Return the same digest from the SHA-256 alone, for imported secrets."""
    keyed = _keyed(pepper).copy()
    keyed.update(inner)
    return keyed.digest()


@lru_cache(maxsize=16)
def _keyed(pepper: bytes) -> blake2b:
    """Return a hash that has absorbed the key, which is half the work for a short text. Callers use copies of it only."""
    return blake2b(digest_size=32, key=pepper)


def matches(left: bytes, right: bytes) -> bool:
    """Compare two digests in constant time."""
    return compare_digest(left, right)


def redact(text: str) -> str:
    """Return the text with every secret of ours reduced to the parts that lists may show.

    A truncated secret loses everything after its access id. A private key loses everything after its first line.
    """
    text = _PRIVATE_KEY.sub(r"\1…", text)
    text = _WHOLE.sub(lambda whole: f"{whole[1]}…{whole[2][-CHECKSUM_LENGTH:]}", text)
    return _PART.sub(r"\1…", text)


def looks_like_secret(text: str) -> bool:
    """Return whether the text contains a whole secret in our format, or the first line of a private key (RFC 7468)."""
    return _ANYWHERE.search(text) is not None or _PRIVATE_KEY.search(text) is not None


def _base62(number: int, length: int) -> str:
    digits = []
    while number:
        number, rest = divmod(number, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits)).rjust(length, "0")
