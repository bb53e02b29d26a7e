"""Responses about verdicts: the JSON of `/v1/verify` and `/v1/capabilities`, the headers for proxies, and
refusals.
"""

from typing import Final

from typing_extensions import TypedDict

from ostiary.auth.rates import FAILURE_WAIT
from ostiary.core.instant import Instant, text_or_none, to_text
from ostiary.core.model import (
    AccessLevel,
    CredentialKind,
    OwnerKind,
    Standing,
    TokenKind,
)
from ostiary.core.problem import Problem
from ostiary.core.rate import Permit
from ostiary.core.verdict import FORBIDDEN_CODES, Verdict, VerdictCode
from ostiary.http import messages
from ostiary.http.messages import Headers

PresentedKind = CredentialKind | TokenKind

ADVICE: Final = {
    # Forward-auth: proxies pass these messages on to end users, who do not know about rules and settings.
    # Operators see the exact reason in the log and in `X-Auth-Error`.
    "untrusted_proxy": "The request could not be checked: the proxy in front of this service is not set up.",
    "not_described": "The request could not be checked: the proxy in front of it did not describe it.",
    "insufficient_scope": "The credential lacks a scope that this request needs.",
    "ip_not_allowed": "The credential may not be used from this address.",
    "project_not_allowed": "The credential may not be used for this project.",
    "resource_not_allowed": "The credential may not be used for this resource.",
    "ambiguous_path": "Two servers could read this path differently.",
    "no_match": "This request is not allowed here.",
    "no_such_rule": "This request is not allowed here.",
    "kind_not_allowed": "This kind of credential may not be used here.",
    "organization_not_allowed": "The credential's organization has no access here.",
}


def forbidden(error: str, verdict: Verdict) -> Problem:
    members: dict[str, object] = {"error": error}
    if verdict.missing:
        members["scope"] = " ".join(sorted(verdict.missing))
    return Problem(
        "insufficient-permissions",
        ADVICE.get(error, "The credential may not be used for this."),
        members=members,
        reason=error,
    )


def unauthorized(verdict: Verdict) -> Problem:
    """Return the one neutral refusal. A client with a proven token may learn that the token has expired."""
    token = verdict.token
    if token is not None and token.kind == "access_token" and verdict.code == "expired":
        return Problem(
            "token-expired",
            "The access token has expired. Request a new one, or refresh it.",
            reason="expired",
        )
    return messages.unauthorized(verdict.code)


def refusal(verdict: Verdict, permit: Permit | None = None) -> Problem:
    """Return the Problem for a caller whose credential was refused."""
    if verdict.code in FORBIDDEN_CODES:
        return forbidden(verdict.code, verdict)
    if verdict.code == "rate_limited":
        return rate_limited(permit)
    return unauthorized(verdict)


class RateLimitJson(TypedDict):
    """The state of the credential's rate limit after this use."""

    limit: int
    """Uses per minute."""
    remaining: int
    """How many more uses are possible at once."""
    reset: int
    """Seconds until the whole limit is available again."""


class PrincipalJson(TypedDict):
    """The owner of the credential."""

    type: OwnerKind
    id: str
    username: str
    """Unique in the installation: a user's email, a service account's channel identifier."""
    display_name: str
    """For people to read. It does not identify the principal, because the creator
    of the account chooses it.
    """


class SupersededJson(TypedDict):
    """A newer secret has replaced the presented one."""

    superseded_at: str
    ends_at: str | None
    """Until when the presented secret is accepted; null: until the rotation is completed."""


class VerdictJson(TypedDict):
    """Whether the credential is valid for this request. If not, all fields except the first three are null.

    For `rate_limited`, `rate_limit` is set too.
    """

    valid: bool
    code: VerdictCode
    """The reason; the first one if there are several."""
    credential_id: str | None
    """Null unless the secret was correct."""
    kind: PresentedKind | None
    principal: PrincipalJson | None
    organization: str | None
    project: str | None
    """The requested project, or the one that the credential is bound to."""
    scopes: list[str] | None
    """All scopes of the credential on this target."""
    expires_at: str | None
    rate_limit: RateLimitJson | None
    """Null if there is no limit, or if the use was not counted."""
    rotation: SupersededJson | None


class PresentedCredentialJson(TypedDict):
    """The presented credential, or the one that the presented token came from."""

    id: str
    kind: PresentedKind
    name: str
    access_level: AccessLevel
    expires_at: str | None
    rotation: SupersededJson | None


class HomeOrganizationJson(TypedDict):
    """The organization that the credential belongs to."""

    id: str
    slug: str
    name: str


class ResourcesJson(TypedDict):
    """Resource patterns of the account and of the credential. If both lists have patterns, both must match.
    An empty list matches any resource.
    """

    account: list[str]
    credential: list[str]


class UseLimitsJson(TypedDict):
    """Limits on the use of the credential."""

    allowed_ips: list[str]
    """An empty list allows any address."""
    projects: list[str]
    """The projects that the account is limited to. An empty list allows any project, and the organization
    itself.
    """
    rate_limit: RateLimitJson | None
    """Null if there is no limit."""


class CapabilitiesJson(TypedDict):
    """Who the presented credential belongs to, what it may do, and its limits."""

    principal: PrincipalJson
    credential: PresentedCredentialJson
    organization: HomeOrganizationJson
    project: str | None
    """The project that the credential is bound to."""
    scopes: list[str]
    resources: ResourcesJson
    limits: UseLimitsJson


def verify_body(verdict: Verdict) -> VerdictJson:
    standing = verdict.standing
    if standing is None or not verdict.valid:
        return {
            "valid": False,
            "code": verdict.code,
            "credential_id": None if standing is None else standing.credential_id,
            "kind": None,
            "principal": None,
            "organization": None,
            "project": None,
            "scopes": None,
            "expires_at": None,
            "rate_limit": None,
            "rotation": None,
        }
    return {
        "valid": True,
        "code": verdict.code,
        "credential_id": standing.credential_id,
        "kind": _kind(verdict, standing),
        "principal": _principal(standing),
        "organization": standing.organization.id,
        "project": verdict.project,
        "scopes": sorted(verdict.scopes),
        "expires_at": text_or_none(_expires_at(verdict, standing)),
        "rate_limit": None,
        "rotation": _rotation(standing),
    }


def _rotation(standing: Standing) -> SupersededJson | None:
    """Return the rotation of a presented secret that a newer one has replaced; None
    if it was not replaced.
    """
    if standing.superseded_at is None:
        return None
    return {
        "superseded_at": to_text(standing.superseded_at),
        "ends_at": text_or_none(standing.ends_at),
    }


def superseded(standing: Standing) -> list[tuple[bytes, bytes]]:
    """Return the header that asks a caller to use the newer secret. It says until when the presented one is
    accepted.
    """
    if standing.superseded_at is None:
        return []
    ends = b"completed" if standing.ends_at is None else to_text(standing.ends_at).encode()
    return [(b"x-credential-superseded", b"until=" + ends)]


def _kind(verdict: Verdict, standing: Standing) -> PresentedKind:
    return standing.kind if verdict.token is None else verdict.token.kind


def _expires_at(verdict: Verdict, standing: Standing) -> Instant | None:
    return standing.expires_at if verdict.token is None else verdict.token.expires_at


def _principal(standing: Standing) -> PrincipalJson:
    principal = standing.principal
    return {
        "type": principal.kind,
        "id": principal.id,
        "username": principal.identifier,
        "display_name": principal.display,
    }


def capabilities_body(
    verdict: Verdict, standing: Standing, rate_limit: RateLimitJson | None
) -> CapabilitiesJson:
    organization = standing.organization
    return {
        "principal": _principal(standing),
        "credential": {
            "id": standing.credential_id,
            "kind": _kind(verdict, standing),
            "name": standing.name,
            "access_level": standing.access_level,
            "expires_at": text_or_none(_expires_at(verdict, standing)),
            "rotation": _rotation(standing),
        },
        "organization": {"id": organization.id, "slug": organization.slug, "name": organization.name},
        "project": verdict.project,
        "scopes": sorted(verdict.scopes),
        # Separate lists, because both must match.
        "resources": {"account": list(standing.principal.resources), "credential": list(standing.resources)},
        "limits": {
            "allowed_ips": [str(network) for network in standing.networks],
            "projects": list(standing.principal.projects),
            "rate_limit": rate_limit,
        },
    }


def identity(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell an upstream who the caller is. All are always set; an empty value means
    none.
    """
    standing = verdict.standing
    assert standing is not None
    return [
        (b"x-auth-subject", standing.principal.id.encode()),
        (b"x-auth-kind", _kind(verdict, standing).encode()),
        (b"x-auth-organization", standing.organization.id.encode()),
        (b"x-auth-credential", standing.credential_id.encode()),
        (b"x-auth-scopes", " ".join(sorted(verdict.scopes)).encode()),
        (b"x-auth-assertion", b""),
    ]


PREFLIGHT: Final = [
    *(
        (b"x-auth-%s" % each, b"")
        for each in (b"subject", b"kind", b"organization", b"credential", b"scopes", b"assertion")
    ),
    (b"ostiary-preflight", b"admitted"),
]
"""The same headers for an admitted preflight, and one that distinguishes it from any other 200 without a
subject.
"""


def with_assertion(answer: bytes, text: str) -> bytes:
    """Return a response with the headers of `identity`, with the assertion filled in."""
    return answer.replace(b"x-auth-assertion: \r\n", b"x-auth-assertion: %s\r\n" % text.encode(), 1)


# Rate limits


def rate_limited(permit: Permit | None) -> Problem:
    """Return the refusal of a use over the credential's limit. Without a permit, the limit is that of the
    client's address.
    """
    if permit is None:
        return Problem(
            "rate-limited",
            "Too many unknown credentials came from this address. Wait, and check the credential.",
            members={"retry_after": FAILURE_WAIT},
            reason="rate_limited",
        )
    return Problem(
        "rate-limited",
        f"The credential has used its limit of {permit.limit} requests per minute. Wait before the next request.",
        members={"limit": permit.limit, "retry_after": permit.wait},
        reason="rate_limited",
    )


def rate_limit_fields(permit: Permit | None) -> Headers:
    """Return the headers that describe the state of the rate limit (draft-ietf-httpapi-ratelimit-headers)."""
    if permit is None:
        return ()
    return (
        (b"ratelimit-policy", b'"default";q=%d;w=60' % permit.limit),
        (b"ratelimit", b'"default";r=%d;t=%d' % (permit.remaining, permit.wait)),
    )


def retry_after(permit: Permit | None) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % (FAILURE_WAIT if permit is None else permit.wait)


def rate_limit_json(permit: Permit | None) -> RateLimitJson | None:
    if permit is None:
        return None
    return {"limit": permit.limit, "remaining": permit.remaining, "reset": permit.reset}
