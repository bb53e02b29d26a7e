"""Forms of what people type: names, usernames, email addresses. ValueError says what is wrong.

The sentence of each error reads after the field's name, and never holds the value.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable

from ostiary.core.secret import looks_like_secret

MAX_DISPLAY_NAME = 253
MAX_TEXT = 2_000
MAX_EMAIL = 254
MAX_AUDIENCE = 512
MIN_PASSWORD = 12
MAX_PASSWORD = 256

SLUG = "^[a-z0-9][a-z0-9-]{1,62}$"
IMPORT_PREFIX = "^[A-Za-z0-9][A-Za-z0-9._-]{2,15}$"
SHA256 = "^[0-9A-Fa-f]{64}$"

_SLUG = re.compile(SLUG)
_IMPORT_PREFIX = re.compile(IMPORT_PREFIX)
_SHA256 = re.compile(SHA256)
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
# Controls, surrogates, private use, unassigned, and format characters: the last hold the bidirectional overrides.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that are nothing to see: fillers, and a cell of Braille without a dot."""
_UNPRINTABLE = frozenset({"Cc", "Cs", "Co", "Cn", "Cf", "Zl", "Zp"})

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//[^/?#]+|[^/?#])")


def import_prefix(text: str) -> str:
    """How keys of another system begin: 3 to 16 characters that a header takes."""
    if _IMPORT_PREFIX.fullmatch(text) is None:
        raise ValueError("must be 3 to 16 of the characters a-z A-Z 0-9 . _ -, the first a letter or digit")
    return text


def sha256(text: str) -> bytes:
    """A SHA-256 in hexadecimal."""
    if _SHA256.fullmatch(text) is None:
        raise ValueError("must be a SHA-256 in 64 hexadecimal digits")
    return bytes.fromhex(text)


def key_name(text: str, digest: bytes) -> str:
    """The display name of a key of which only the SHA-256 is known: not the key itself, nor one of ours."""
    text = display_name(text)
    if hashlib.sha256(text.encode()).digest() == digest or looks_like_secret(text):
        raise ValueError("must not be a key: names are kept and shown")
    return text


def display_name(text: str) -> str:
    """1 to 253 visible characters, white space around them removed."""
    text = text.strip()
    if len(text) > MAX_DISPLAY_NAME:
        raise ValueError(f"must have at most {MAX_DISPLAY_NAME} characters")
    _printable(text, "")
    if not any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in text):
        raise ValueError("must not be blank")
    return text


def description(text: str) -> str:
    """At most 2,000 characters; line breaks are welcome, as forms send them too."""
    text = text.replace("\r\n", "\n")
    if len(text) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT} characters")
    _printable(text, "\n\t")
    return text


def username(text: str) -> str:
    """2 to 63 lower-case letters, digits and hyphens, no hyphen first; slugs and codes alike."""
    if _SLUG.fullmatch(text) is None:
        raise ValueError("must be 2 to 63 lower-case letters, digits and hyphens, no hyphen first")
    return text


def email(text: str) -> str:
    """An address that mail can be sent to, without comments, quotes or non-ASCII parts; in lower case.

    Mailboxes that differ in case only belong to the same person everywhere that matters.
    """
    if (
        len(text) > MAX_EMAIL
        or _EMAIL.fullmatch(text) is None
        or ".." in text
        or text[0] == "."
        or ".@" in text
    ):
        raise ValueError("must be an email address")
    return text.lower()


def password(text: str, email: str) -> str:
    """12 to 256 characters, which are neither blank nor the person's address. Nothing else makes one better."""
    if len(text) < MIN_PASSWORD:
        raise ValueError(f"must have at least {MIN_PASSWORD} characters")
    if len(text) > MAX_PASSWORD:
        raise ValueError(f"must have at most {MAX_PASSWORD} characters")
    if not text.strip():
        raise ValueError("must not be blank")
    if text.strip().lower() == email.lower():
        raise ValueError("must not be your email address")
    return text


def slug_of(name: str, otherwise: str = "account") -> str:
    """A username or slug derived from a display name: `CI bot (staging)` → `ci-bot-staging`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:56].strip("-")
    return slug if len(slug) >= 2 else f"{slug}-{otherwise}".lstrip("-")


def free_slug(slug: str, taken: Callable[[str], bool]) -> str:
    """The slug, or with the first number from 2 on that makes it free."""
    number, candidate = 1, slug
    while taken(candidate):
        number += 1
        candidate = f"{slug}-{number}"
    return candidate


def _printable(text: str, welcome: str) -> None:
    if any(unicodedata.category(c) in _UNPRINTABLE and c not in welcome for c in text):
        raise ValueError("must not hold control, invisible or bidirectional characters")


def audience(text: str) -> str:
    """Whom a token may be meant for: an absolute URI without a fragment (RFC 8707 §2). ValueError otherwise."""
    if (
        len(text) > MAX_AUDIENCE
        or not text.isascii()
        or not text.isprintable()
        or set(text) & set(' "<>\\^`{|}')
    ):
        raise ValueError(f"must be a URI of at most {MAX_AUDIENCE} characters")
    if _ABSOLUTE.match(text) is None or "#" in text:
        raise ValueError("must be an absolute URI without a fragment, such as https://api.example.com")
    return text
