"""The errors of the OAuth endpoints: a closed list of codes, and their wire form (RFC 6749 §5.2).

Clients read what to change, never what was sent. The exact reason goes to the audit log.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from ostiary.core import check
from ostiary.core.problem import Problem
from ostiary.core.secret import redact
from ostiary.http import messages
from ostiary.http.messages import NO_STORE, Headers

CODES: Final[Mapping[str, tuple[int, str]]] = {
    # code: status, and the default description
    "invalid_request": (400, "The request is not understood."),
    "invalid_client": (401, "The client is unknown, or its authentication failed."),
    "invalid_grant": (400, "The grant is not valid."),
    "unauthorized_client": (400, "The client is not authorized for this request."),
    "unsupported_grant_type": (400, "The grant type is not supported."),
    "invalid_scope": (400, "A scope is unknown, or was not granted."),
    "invalid_target": (
        400,
        "A resource is unknown, is not an absolute URI without a fragment, or cannot be combined with another.",
    ),
    "unsupported_token_type": (400, "This token type is not supported."),
    # RFC 8628 §3.5
    "authorization_pending": (400, "The request is not approved yet. Try again after the interval."),
    "slow_down": (400, "Increase the polling interval by five seconds."),
    "access_denied": (400, "Access was denied."),
    "expired_token": (400, "The device code has expired. Request a new one."),
    # Registration (RFC 7591 §3.2.2)
    "invalid_redirect_uri": (400, "A redirect URI is not valid."),
    "invalid_client_metadata": (400, "The client metadata is not valid."),
    "temporarily_unavailable": (503, "Nothing was issued. Try again."),
}

CHALLENGE: Final = (b"www-authenticate", b'Basic realm="ostiary", charset="UTF-8"')
# RFC 6749 §5.2: no control characters, no quotation mark, no backslash, nothing beyond ASCII.
_USER: Final = re.compile("//[^/]*@")
_PLAIN: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")


@dataclass(slots=True)
class OAuthError(Exception):
    """Raised for a response other than success; `wire` renders it.

    With `retry_after` (seconds) the status is 429: the client sends too many requests. `reason` is for the
    audit log only, and so is `resource`, the refused resource as returned by `printable_resource`.
    """

    code: str
    description: str = ""
    reason: str = ""
    retry_after: int | None = None
    resource: str = ""

    __hash__ = Exception.__hash__  # hash by identity, as exceptions do

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code} is not in the list of error codes")
        self.description = self.description or CODES[self.code][1]
        if not _PLAIN.fullmatch(self.description):
            raise ValueError("a description holds what RFC 6749 does not allow")

    @property
    def status(self) -> int:
        return CODES[self.code][0] if self.retry_after is None else 429


def invalid_request(description: str, reason: str = "") -> OAuthError:
    return OAuthError("invalid_request", description, reason)


def invalid_client(reason: str) -> OAuthError:
    """Return the one neutral refusal of a client. Only the audit log has the cause."""
    return OAuthError("invalid_client", reason=reason)


def invalid_target(resource: str, reason: str) -> OAuthError:
    """Return the refusal of a resource (RFC 8707 §2). The audit log names the resource."""
    return OAuthError("invalid_target", reason=reason, resource=printable_resource(resource))


def printable_resource(resource: str) -> str:
    """Return a refused resource for the audit log: at most 200 characters, without user information and query.

    Text that is not an absolute URI is replaced by a fixed text.
    """
    try:
        uri = check.audience(resource)
    except ValueError:
        return "(not an absolute URI without a fragment)"
    return redact(_USER.sub("//", uri.partition("?")[0], count=1)[:200])


def too_many(retry_after: int, reason: str = "rate limited") -> OAuthError:
    """Return the error for a client that exceeds a limit. `retry_after` is in seconds."""
    return OAuthError("temporarily_unavailable", "Too many requests.", reason, retry_after)


def of_problem(problem: Problem) -> OAuthError:
    """Return the OAuth error that corresponds to a Problem."""
    reason = problem.reason or problem.code
    if problem.status == 429:
        seconds = problem.members.get("retry_after")
        return too_many(seconds if isinstance(seconds, int) else 1, reason)
    if problem.status >= 500:
        return OAuthError("temporarily_unavailable", reason=reason)
    if problem.status == 401:
        return invalid_client(reason)
    if problem.status == 403:
        return OAuthError("unauthorized_client", reason=reason)
    # The summary of wrong fields contains their names, which the client chose.
    told = not problem.errors and _PLAIN.fullmatch(problem.detail)
    return invalid_request(problem.detail if told else "", reason)


def wire(error: OAuthError, extra: Headers = ()) -> bytes:
    """Return the whole response."""
    fields = [(b"content-type", b"application/json"), NO_STORE, (b"pragma", b"no-cache")]
    if error.status == 401:
        fields.append(CHALLENGE)
    elif error.status in (429, 503):
        fields.append((b"retry-after", b"%d" % (error.retry_after or 1)))
    body = orjson.dumps({"error": error.code, "error_description": error.description})
    return messages.wire(error.status, [*fields, *extra], body)
