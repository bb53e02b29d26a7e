"""Who a client of the OAuth endpoints claims to be, and by what; whether it is true is judged elsewhere.

RFC 6749 §2.3 (client_secret_basic, client_secret_post, none) and RFC 7523 §2.2 (private_key_jwt).
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

from ostiary.core.client_metadata import is_document_url
from ostiary.core.oauth import CLIENT_ASSERTION
from ostiary.http.messages import Headers
from ostiary.http.oauth_error import invalid_client, invalid_request
from ostiary.oauth.form import Form

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_BAD_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Public:
    """A client that proves nothing, and perhaps says who it is."""

    client_id: str | None


@dataclass(frozen=True, slots=True)
class WithSecret:
    client_id: str
    secret: str = field(repr=False)
    via: Literal["basic", "post"]


@dataclass(frozen=True, slots=True)
class WithAssertion:
    """A signed JWT, not yet read. Where `client_id` is there it has to be the assertion's (RFC 7521 §4.2)."""

    assertion: str = field(repr=False)
    client_id: str | None


Claim = Public | WithSecret | WithAssertion


def claimed(headers: Headers, form: Form) -> Claim:
    """What a request says of its client. Raises OAuthError: invalid_request for what is unclear, invalid_client."""
    basic = _basic(headers)
    client_id, secret = form.get("client_id"), form.get("client_secret")
    assertion, kind = form.get("client_assertion"), form.get("client_assertion_type")
    if (basic is not None) + (secret is not None) + (assertion is not None or kind is not None) > 1:
        raise invalid_request("The client authenticates in more than one way.", "several authentications")
    if basic is not None:
        if client_id not in (None, basic.client_id):
            raise invalid_request("The body names another client than the Authorization field.", "client_id")
        # Many libraries send a public client's id with an empty password.
        return basic if basic.secret else Public(basic.client_id)
    if assertion is not None or kind is not None:
        if kind != CLIENT_ASSERTION or assertion is None:
            raise invalid_request(
                f"client_assertion and client_assertion_type={CLIENT_ASSERTION} belong together.",
                "client_assertion_type",
            )
        return WithAssertion(assertion, client_id)
    if secret is not None:
        if client_id is None:
            raise invalid_request("client_secret needs client_id.", "no client_id")
        return WithSecret(client_id, secret, "post")
    return Public(client_id)


def _basic(headers: Headers) -> WithSecret | None:
    """What stands in `Authorization: Basic`; None without one. Other schemes are somebody else's to read."""
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        return None
    if len(values) > 1:
        raise invalid_request("There are several Authorization fields.", "several authorizations")
    scheme, _, encoded = values[0].strip(b" \t").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    encoded = encoded.strip(b" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
        text = raw.decode()
        name, colon, secret = text.partition(":")
        name, secret = _decoded(name), _decoded(secret)
    except (binascii.Error, UnicodeDecodeError):
        raise invalid_client("unreadable Basic") from None
    # Of several spellings of the same bytes, which the library takes, one is right.
    if (
        base64.b64encode(raw) != encoded
        or not colon
        or not name
        or _CONTROL.search(name)
        or _CONTROL.search(secret)
    ):
        raise invalid_client("unreadable Basic")
    # A client id that is a URL has colons itself. It has no secret, so the last colon is the separator.
    if text.endswith(":") and is_document_url(text[:-1]):
        name, secret = text[:-1], ""
    return WithSecret(name, secret, "basic")


def _decoded(text: str) -> str:
    """One half of the pair. RFC 6749 §2.3.1 has it form-encoded, which many clients leave out.

    Ids and secrets of ours look the same either way, so what is not encoded is taken as it is.
    """
    if ("%" not in text and "+" not in text) or _BAD_PERCENT.search(text):
        return text
    return unquote_to_bytes(text.replace("+", " ")).decode()
