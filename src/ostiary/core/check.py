"""Forms of what people type: names, usernames, email addresses. ValueError says what is wrong.

The sentence of each error reads after the field's name, and never holds the value.
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
# Controls, surrogates, private use, unassigned, and format characters: the last hold the bidirectional overrides.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that are nothing to see: fillers, and a cell of Braille without a dot."""
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
# Scripts whose letters change their shape next to a joiner: Arabic, Syriac, N'Ko, Mandaic, Mongolian.
_SHAPED = re.compile(
    "[\u0620-\u065f\u066e-\u06d3\u06d5\u06fa-\u06ff\u0710-\u077f\u07ca-\u07ea\u0840-\u0858\u08a0-\u08c7"
    "\u1820-\u18aa]"
)
_VIRAMA = 9
"""The combining class of the virama of Indic scripts; a joiner after it selects a form."""
_EMOJI_MODIFIERS = frozenset("\ufe0f♀♂\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//[^/?#]+|[^/?#])")


def import_prefix(text: str) -> str:
    """How keys of another system begin: 3 to 16 characters that a header takes."""
    if _IMPORT_PREFIX.fullmatch(text) is None:
        raise ValueError("must be 3 to 16 of the characters a-z A-Z 0-9 . _ -, the first a letter or digit")
    return text


def sha256(text: str) -> bytes:
    """A SHA-256 in 64 hexadecimal digits, or in base64 of either alphabet, with its padding or without."""
    if _SHA256.fullmatch(text) is None:
        raise ValueError("must be a SHA-256: 64 hexadecimal digits, or base64 of 43 or 44 characters")
    if len(text) == HEX_SHA256:
        return bytes.fromhex(text)
    # The last character has unused bits. They must be 0, so that each digest has one spelling only.
    digest = base64.urlsafe_b64decode(text.rstrip("=").translate(_URL_SAFE) + "=")
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != text.rstrip("=").translate(_URL_SAFE):
        raise ValueError("must be a SHA-256 in base64 as encoders write it")
    return digest


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


def given_text(text: str) -> str:
    """Return the text of a variable or file without a byte order mark and surrounding white space."""
    return text.removeprefix(BYTE_ORDER_MARK).strip()


def refuse_controls(text: str) -> None:
    """Raise a ValueError that names the first control character of the text."""
    for character in text:
        if character == BYTE_ORDER_MARK or unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
            name = _CONTROLS.get(character) or unicodedata.name(character, "a control character").lower()
            raise ValueError(f"holds {name} (U+{ord(character):04X})")


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
    if any(
        unicodedata.category(c) in _UNPRINTABLE and c not in welcome and not _joins(text, place)
        for place, c in enumerate(text)
    ):
        raise ValueError("must not hold control, invisible or bidirectional characters")


def _joins(text: str, place: int) -> bool:
    """Return whether this character is a joiner that its neighbours need (UAX #31 §2.3; emoji sequences of UTS #51).

    Between other characters a joiner is invisible, so two different names would look the same.
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
    """Return whether the character may be next to a joiner in an emoji sequence: a symbol or its modifier."""
    return unicodedata.category(character) == "So" or character in _EMOJI_MODIFIERS


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
