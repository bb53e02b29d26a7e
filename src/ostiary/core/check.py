"""Validation of text that people enter: names, usernames, email addresses, passwords.

Functions return the normalised text, or raise ValueError. The message completes a sentence that begins with the
field's name, and never contains the value.
"""

import base64
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
SHA256 = "^([0-9A-Fa-f]{64}|[A-Za-z0-9+/_-]{43}=?)$"
HEX_SHA256 = 64

_SLUG = re.compile(SLUG)
_IMPORT_PREFIX = re.compile(IMPORT_PREFIX)
_SHA256 = re.compile(SHA256)
_URL_SAFE = str.maketrans("+/", "-_")
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that are invisible: fillers, and the empty Braille cell."""
# Controls, surrogates, private use, unassigned, and format characters (which include bidirectional overrides).
_UNPRINTABLE = frozenset({"Cc", "Cs", "Co", "Cn", "Cf", "Zl", "Zp"})

BYTE_ORDER_MARK = "\ufeff"
_CONTROLS = {
    "\r": "a carriage return",
    "\n": "a line feed",
    "\t": "a tab",
    BYTE_ORDER_MARK: "a byte order mark",
}

ZERO_WIDTH_JOINER = "\u200d"
_JOINERS = ("\u200c", ZERO_WIDTH_JOINER)
# Scripts whose letters change shape next to a joiner: Arabic, Syriac, N'Ko, Mandaic, Mongolian.
_SHAPED = re.compile(
    "[\u0620-\u065f\u066e-\u06d3\u06d5\u06fa-\u06ff\u0710-\u077f\u07ca-\u07ea\u0840-\u0858\u08a0-\u08c7"
    "\u1820-\u18aa]"
)
_VIRAMA = 9
"""Combining class of the virama of Indic scripts. A joiner after a virama selects a glyph form."""
_EMOJI_MODIFIERS = frozenset("\ufe0f♀♂\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//[^/?#]+|[^/?#])")


def import_prefix(text: str) -> str:
    """Check the prefix of another system's keys: 3 to 16 characters that are safe in a header. Raises ValueError."""
    if _IMPORT_PREFIX.fullmatch(text) is None:
        raise ValueError("must be 3 to 16 of the characters a-z A-Z 0-9 . _ -, the first a letter or digit")
    return text


def sha256(text: str) -> bytes:
    """Decode a SHA-256: 64 hexadecimal digits, or base64 (standard or URL-safe, padding optional). Raises ValueError."""
    if _SHA256.fullmatch(text) is None:
        raise ValueError("must be a SHA-256: 64 hexadecimal digits, or base64 of 43 or 44 characters")
    if len(text) == HEX_SHA256:
        return bytes.fromhex(text)
    # The unused bits of the last character must be 0, so that each digest has exactly one base64 spelling.
    digest = base64.urlsafe_b64decode(text.rstrip("=").translate(_URL_SAFE) + "=")
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != text.rstrip("=").translate(_URL_SAFE):
        raise ValueError("must be a SHA-256 in base64 as encoders write it")
    return digest


def key_name(text: str, digest: bytes) -> str:
    """Check the display name of an imported key. Raises ValueError if it is the key itself, or looks like a secret of
    ours."""
    text = display_name(text)
    if hashlib.sha256(text.encode()).digest() == digest or looks_like_secret(text):
        raise ValueError("must not be a key: names are kept and shown")
    return text


def display_name(text: str) -> str:
    """Check a name: 1 to 253 visible characters. Surrounding white space is removed. Raises ValueError."""
    text = text.strip()
    if len(text) > MAX_DISPLAY_NAME:
        raise ValueError(f"must have at most {MAX_DISPLAY_NAME} characters")
    _printable(text, "")
    if not any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in text):
        raise ValueError("must not be blank")
    return text


def description(text: str) -> str:
    """Check a description: at most 2,000 characters. Line feeds and tabs are allowed; CRLF, as HTML forms send,
    becomes LF."""
    text = text.replace("\r\n", "\n")
    if len(text) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT} characters")
    _printable(text, "\n\t")
    return text


def username(text: str) -> str:
    """Check a username, slug or code: 2 to 63 lower-case letters, digits and hyphens, no leading hyphen. Raises
    ValueError."""
    if _SLUG.fullmatch(text) is None:
        raise ValueError("must be 2 to 63 lower-case letters, digits and hyphens, no hyphen first")
    return text


def email(text: str) -> str:
    """Check an email address and return it in lower case. Comments, quotes and non-ASCII characters are refused.

    Lower case, because in practice mailboxes that differ only in case belong to the same person.
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


def given_text(text: str) -> str:
    """Return the text of an environment variable or file without a byte order mark and surrounding white space."""
    return text.removeprefix(BYTE_ORDER_MARK).strip()


def refuse_controls(text: str) -> None:
    """Raise a ValueError that names the first control character of the text."""
    for character in text:
        if character == BYTE_ORDER_MARK or unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
            name = _CONTROLS.get(character) or unicodedata.name(character, "a control character").lower()
            raise ValueError(f"contains {name} (U+{ord(character):04X})")


def password(text: str, email: str) -> str:
    """Check a password: 12 to 256 characters, not blank, not the person's email address. There are no composition
    rules."""
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
    """Derive a username or slug from a display name: `CI bot (staging)` → `ci-bot-staging`."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:56].strip("-")
    return slug if len(slug) >= 2 else f"{slug}-{otherwise}".lstrip("-")


def free_slug(slug: str, taken: Callable[[str], bool]) -> str:
    """Return the slug if it is free, else the first free one of `slug-2`, `slug-3`, …."""
    number, candidate = 1, slug
    while taken(candidate):
        number += 1
        candidate = f"{slug}-{number}"
    return candidate


def _printable(text: str, allowed: str) -> None:
    if any(
        unicodedata.category(c) in _UNPRINTABLE and c not in allowed and not _joins(text, place)
        for place, c in enumerate(text)
    ):
        raise ValueError("must not contain control, invisible or bidirectional characters")


def _joins(text: str, place: int) -> bool:
    """Return whether the character is a joiner that its neighbours need (UAX #31 §2.3, UTS #51).

    Elsewhere a joiner is invisible, so that two different names would look the same.
    """
    if text[place] not in _JOINERS or place == 0 or place + 1 == len(text):
        return False
    before, after = text[place - 1], text[place + 1]
    if _SHAPED.match(before) and _SHAPED.match(after):
        return True
    if unicodedata.combining(before) == _VIRAMA:
        return True
    return text[place] == ZERO_WIDTH_JOINER and _is_pictograph(before) and _is_pictograph(after)


def _is_pictograph(character: str) -> bool:
    """Return whether the character can be next to a joiner in an emoji sequence: a symbol or a modifier."""
    return unicodedata.category(character) == "So" or character in _EMOJI_MODIFIERS


def audience(text: str) -> str:
    """Check the audience of a token: an absolute URI without a fragment (RFC 8707 §2). Raises ValueError."""
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
