"""How a secret looks: prefix, access id, random part, checksum. Mint from given bytes, parse, digest, redact.

The form is `<prefix><access id><secret>`: `ak-`, 32 hexadecimal digits that are public, and 44 characters of
which 38 are random base62 (226 bits) and 6 are the base62 CRC-32 of all that stands before them. The checksum
is no proof: it spares a look-up for a mistyped key and lets a scanner tell a key from noise offline.
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
CLIENT_SECRET = "secret_"  # noqa: S105 - how one begins
SESSION = "session_"
REFRESH = "refresh_"
CODE = "code_"
DEVICE_CODE = "device_"
RESET = "reset_"
OTHER_PREFIXES = (CLIENT_SECRET, SESSION, REFRESH, CODE, DEVICE_CODE, RESET)
"""How our other secrets begin. They are no API keys, whoever presents them as one."""
MINT_ENTROPY = 16 + 48
"""Bytes that `mint` takes: 16 for the access id, 48 for the random part (the bias of the modulus is below 2⁻¹⁵⁰)."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [left + right for left in _ALPHABET for right in _ALPHABET]
_BODY = re.compile(rb"[0-9a-f]{32}[0-9A-Za-z]{44}")
_ACCESS_ID = re.compile(r"[0-9a-f]{32}")
_WHOLE = re.compile(r"([A-Za-z][A-Za-z0-9]{1,15}[-_][0-9a-f]{32})([0-9A-Za-z]{44})")
# The same without looking back for the first letter: a long text is looked at once, from one hyphen to the next.
_ANYWHERE = re.compile(r"[-_](?<=[A-Za-z0-9]{2}[-_])[0-9a-f]{32}[0-9A-Za-z]{44}")
# Without the letters of the prefix: the end of a secret before it may have taken them.
_PART = re.compile(r"([-_][0-9a-f]{32})[0-9A-Za-z]+")
# RFC 7468: a private key of any kind. What follows the line is the key.
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----).*", re.DOTALL)
_PREFIX = re.compile(r"[a-z][a-z0-9]{1,11}")


class Secret:
    """Text that prints as `***` wherever it is printed by mistake; `reveal()` opens it, and is easy to grep for."""

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
class Minted:
    """A new secret with the parts of it that may be kept."""

    secret: Secret
    access_id: str
    last6: str


def prefix_of(name: str) -> str:
    """The key prefix as it is sent: `ak` → `ak-`. ValueError if the name is no prefix."""
    if _PREFIX.fullmatch(name) is None:
        raise ValueError("must be 2 to 12 lower-case letters and digits, a letter first")
    return name + "-"


def mint(prefix: str, entropy: bytes) -> Minted:
    """Make a secret from `MINT_ENTROPY` random bytes. The same bytes make the same secret."""
    if len(entropy) != MINT_ENTROPY:
        raise ValueError(f"mint takes {MINT_ENTROPY} bytes")
    return assemble(prefix, access_id(entropy[:16]), entropy[16:])


def assemble(prefix: str, public: str, random: bytes) -> Minted:
    """The same from an access id (32 hexadecimal digits) and the 48 bytes of the random part."""
    body = f"{prefix}{public}{_base62(int.from_bytes(random) % 62**RANDOM_LENGTH, RANDOM_LENGTH)}"
    text = body + checksum(body.encode())
    return Minted(Secret(text), public, text[-CHECKSUM_LENGTH:])


def access_id(entropy: bytes) -> str:
    """A public id from 16 random bytes: a UUID (version 4) without hyphens."""
    return uuid.UUID(bytes=entropy, version=4).hex


def is_access_id(text: str) -> bool:
    """Whether a text has the form of an access id."""
    return _ACCESS_ID.fullmatch(text) is not None


def claimed_id(text: bytes, prefixes: tuple[bytes, ...]) -> str | None:
    """The access id that a text claims by its prefix and length, whatever it holds: only its digest proves it."""
    for prefix in prefixes:
        if len(text) == len(prefix) + ACCESS_ID_LENGTH + SECRET_LENGTH and text.startswith(prefix):
            return text[len(prefix) : len(prefix) + ACCESS_ID_LENGTH].decode("latin-1")
    return None


def parse(text: bytes, prefixes: tuple[bytes, ...]) -> str | None:
    """The access id of a well-formed secret with one of these prefixes and a right checksum, else None."""
    public = claimed_id(text, prefixes)
    if public is None or _BODY.fullmatch(text, len(text) - ACCESS_ID_LENGTH - SECRET_LENGTH) is None:
        return None
    return public if checksum(text[:-CHECKSUM_LENGTH]).encode() == text[-CHECKSUM_LENGTH:] else None


def checksum(body: bytes) -> str:
    """Base62 CRC-32, left-padded with 0 to six characters."""
    # Two digits at a time: this stands before every look-up.
    rest, last = divmod(crc32(body), len(_PAIRS))
    first, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[first] + _PAIRS[middle] + _PAIRS[last]


def digest(text: bytes, pepper: bytes) -> bytes:
    """What is stored in place of a secret: keyed BLAKE2b over its SHA-256, 32 bytes.

    The inner SHA-256 lets an imported digest be stored like our own. 226 random bits need no slow hash.
    """
    return digest_of_sha256(sha256(text).digest(), pepper)


def digest_of_sha256(inner: bytes, pepper: bytes) -> bytes:
    """The same from the SHA-256 alone, for secrets that nobody has shown us."""
    keyed = _keyed(pepper).copy()
    keyed.update(inner)
    return keyed.digest()


@lru_cache(maxsize=16)
def _keyed(pepper: bytes) -> blake2b:
    """The hash with its key taken in: half of the work of a short text. Its copies are used, never itself."""
    return blake2b(digest_size=32, key=pepper)


def matches(left: bytes, right: bytes) -> bool:
    """Compare two digests in constant time."""
    return compare_digest(left, right)


def redact(text: str) -> str:
    """The text with everything that looks like one of our secrets reduced to what lists may show.

    A secret that something cut off loses all that follows its access id, and a private key all that follows its first
    line.
    """
    text = _PRIVATE_KEY.sub(r"\1…", text)
    text = _WHOLE.sub(lambda whole: f"{whole[1]}…{whole[2][-CHECKSUM_LENGTH:]}", text)
    return _PART.sub(r"\1…", text)


def looks_like_secret(text: str) -> bool:
    """Whether a whole secret of our form, or the beginning of a private key (RFC 7468), stands in the text."""
    return _ANYWHERE.search(text) is not None or _PRIVATE_KEY.search(text) is not None


def _base62(number: int, length: int) -> str:
    digits = []
    while number:
        number, rest = divmod(number, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits)).rjust(length, "0")
