"""The client that an OAuth request claims to come from, and its proof. Other modules check the proof.

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
    """A client without a proof. The request may include its client id."""

    client_id: str | None


@dataclass(frozen=True, slots=True)
class WithSecret:
    client_id: str
    secret: str = field(repr=False)
    via: Literal["basic", "post"]


@dataclass(frozen=True, slots=True)
class WithAssertion:
    """A signed JWT that is not parsed yet. A `client_id` must match the assertion's client (RFC 7521 §4.2)."""

    assertion: str = field(repr=False)
    client_id: str | None


Claim = Public | WithSecret | WithAssertion


def claimed(headers: Headers, form: Form) -> Claim:
    """Return the client and proof in a request.

    Raises OAuthError: invalid_request if they are ambiguous, or invalid_client.
    """
    basic = _basic(headers)
    client_id, secret = form.get("client_id"), form.get("client_secret")
    assertion, kind = form.get("client_assertion"), form.get("client_assertion_type")
    if (basic is not None) + (secret is not None) + (assertion is not None or kind is not None) > 1:
        raise invalid_request("The client authenticates in more than one way.", "several authentications")
    if basic is not None:
        if client_id not in (None, basic.client_id):
            raise invalid_request(
                "The body and the Authorization header name different clients.", "client_id"
            )
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
    """Return the credentials in `Authorization: Basic`, or None without one. Other schemes are not read here."""
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        return None
    if len(values) > 1:
        raise invalid_request("The request has more than one Authorization header.", "several authorizations")
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
    # The library accepts several spellings of the same bytes. Only one is correct.
    if (
        base64.b64encode(raw) != encoded
        or not colon
        or not name
        or _CONTROL.search(name)
        or _CONTROL.search(secret)
    ):
        raise invalid_client("unreadable Basic")
    # A client id that is a URL contains colons. Such a client has no secret, so the last colon is the separator.
    if text.endswith(":") and is_document_url(text[:-1]):
        name, secret = text[:-1], ""
    return WithSecret(name, secret, "basic")


def _decoded(text: str) -> str:
    """Decode the client id or the secret.

    RFC 6749 §2.3.1 requires form encoding, which many clients omit. The service's own ids and secrets look
    the same either way, so text that is not encoded is accepted unchanged.
    """
    if ("%" not in text and "+" not in text) or _BAD_PERCENT.search(text):
        return text
    return unquote_to_bytes(text.replace("+", " ")).decode()
