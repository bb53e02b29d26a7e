"""The one error type of the management API, and its closed list of codes (RFC 9457).

A Problem has the parts that the response shows (`code`, `detail`, `errors`, `members`) and separately the exact
`reason` for the audit log. It never contains a secret or a whole value from the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

CODES: Final[Mapping[str, tuple[int, str]]] = {
    # Malformed requests
    "invalid-request": (400, "Invalid Request"),
    "invalid-json": (400, "Invalid JSON"),
    "invalid-cursor": (400, "Invalid Cursor"),
    "unsupported-media-type": (415, "Unsupported Media Type"),
    "request-timeout": (408, "Request Timeout"),
    "content-too-large": (413, "Content Too Large"),
    "uri-too-long": (414, "URI Too Long"),
    "header-fields-too-large": (431, "Header Fields Too Large"),
    "validation-failed": (422, "Validation Failed"),
    # Authentication and permission
    "invalid-credential": (401, "Invalid API Key"),
    "token-expired": (401, "Token Expired"),
    "insufficient-permissions": (403, "Insufficient Permissions"),
    "reauthentication-required": (403, "Reauthentication Required"),
    "scope-exceeds-grantor": (403, "Scope Exceeds Grantor"),
    "rate-limited": (429, "Rate Limited"),
    # Objects and their state
    "not-found": (404, "Not Found"),
    "method-not-allowed": (405, "Method Not Allowed"),
    "name-taken": (409, "Name Taken"),
    "limit-reached": (409, "Limit Reached"),
    "account-disabled": (409, "Account Disabled"),
    "last-admin": (409, "Last Admin"),
    "precondition-failed": (412, "Precondition Failed"),
    "idempotency-mismatch": (422, "Idempotency Key Reused"),
    "wrong-state": (409, "Wrong State"),
    "too-early": (409, "Too Early"),
    # Faults and limits of the installation
    "internal": (500, "Internal Error"),
    "unavailable": (503, "Service Unavailable"),
    "audit-unavailable": (503, "Audit Log Unavailable"),
    "storage-full": (507, "Storage Full"),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field: its place (a JSON Pointer), a code, and a sentence for the person."""

    pointer: str
    code: str
    detail: str

    def below(self, pointer: str) -> "FieldError":
        """Return the same error with the pointer prefixed, for a value that is itself a field of the body."""
        return replace(self, pointer=pointer + self.pointer)


@dataclass(slots=True)
class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """An error response. Any room may raise it; it is rendered in one place.

    `members` are additional fields of the body, such as `limit`, `value` and `count` of limit-reached. `reason` is for
    the audit log only.
    """

    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    members: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""

    __hash__ = Exception.__hash__  # `@dataclass` would remove it; exceptions stay hashable, by identity

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code} is not in the list of problem codes")

    @property
    def status(self) -> int:
        return CODES[self.code][0]

    @property
    def title(self) -> str:
        return CODES[self.code][1]


def not_found(what: str, reason: str = "no such id in this organization") -> Problem:
    """Return the same problem for an id that does not exist, is malformed, or belongs to another organization."""
    return Problem("not-found", f"There is no such {what}.", reason=reason)


def internal() -> Problem:
    """Return the problem for a fault of the service. The response shows only the request's id."""
    return Problem(
        "internal", "Something went wrong on our side. The log has details under this request's id."
    )


def invalid(pointer: str, code: str, detail: str) -> Problem:
    """Return validation-failed for one field."""
    return invalid_fields((FieldError(pointer, code, detail),))


def invalid_fields(errors: tuple[FieldError, ...]) -> Problem:
    """Return validation-failed for all invalid fields. The summary names the first three."""
    summary = "; ".join(f"{error.pointer or '(body)'} {error.detail}" for error in errors[:3])
    return Problem("validation-failed", summary, errors=errors)
