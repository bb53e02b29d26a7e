"""Verdicts as they are told: the JSON of `/v1/verify` and `/v1/capabilities`, the fields for proxies, refusals."""

from typing import Any, Final

from ostiary.core.instant import to_text
from ostiary.core.model import KIND_NAMES, Standing
from ostiary.core.problem import Problem
from ostiary.core.verdict import Verdict

ADVICE: Final = {
    "untrusted_proxy": "A rule judges the forwarded request, and this peer is not in OSTIARY_TRUSTED_PROXIES.",
    "not_described": "The proxy must send the forwarded request's method and URI, each once.",
    "insufficient_scope": "The credential lacks a scope that this request needs.",
    "ip_not_allowed": "The credential may not be used from this address.",
    "project_not_allowed": "The credential may not be used for this project.",
    "resource_not_allowed": "The credential may not be used for this resource.",
    "ambiguous_path": "Two servers could read this path differently.",
    "no_match": "No line of the access rule fits this request.",
    "no_such_rule": "There is no such access rule.",
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


def verify_body(verdict: Verdict) -> dict[str, Any]:
    standing = verdict.standing
    body: dict[str, Any] = {
        "valid": verdict.valid,
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
    if verdict.valid and standing is not None:
        body |= {
            "kind": standing.kind,
            "principal": _principal(standing),
            "organization": standing.organization.id,
            "project": verdict.project,
            "scopes": sorted(verdict.scopes),
            "expires_at": None if standing.expires_at is None else to_text(standing.expires_at),
            "rotation": _rotation(standing),
        }
    return body


def _rotation(standing: Standing) -> dict[str, Any] | None:
    """What whoever presents a secret should know: another one has taken its place."""
    if standing.superseded_at is None:
        return None
    return {
        "superseded_at": to_text(standing.superseded_at),
        "ends_at": None if standing.ends_at is None else to_text(standing.ends_at),
    }


def superseded(standing: Standing) -> list[tuple[bytes, bytes]]:
    """The field that tells a caller to take the new secret: until when this one is accepted."""
    if standing.superseded_at is None:
        return []
    ends = b"completed" if standing.ends_at is None else to_text(standing.ends_at).encode()
    return [(b"x-credential-superseded", b"until=" + ends)]


def _principal(standing: Standing) -> dict[str, Any]:
    principal = standing.principal
    return {
        "type": principal.kind,
        "id": principal.id,
        "display_name": principal.display,
        "username": principal.username,
    }


def capabilities_body(verdict: Verdict, standing: Standing) -> dict[str, Any]:
    organization = standing.organization
    return {
        "principal": _principal(standing),
        "credential": {
            "id": standing.credential_id,
            "kind": standing.kind,
            "name": standing.name,
            "access_level": standing.access_level,
            "expires_at": None if standing.expires_at is None else to_text(standing.expires_at),
            "rotation": _rotation(standing),
        },
        "organization": {"id": organization.id, "slug": organization.slug, "name": organization.name},
        "project": verdict.project,
        "scopes": sorted(verdict.scopes),
        # Both lists must match, so they are not one.
        "resources": {"account": list(standing.principal.resources), "credential": list(standing.resources)},
        "limits": {"allowed_ips": [str(network) for network in standing.networks]},
    }


def identity(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """The fields that tell an upstream who calls: every one is set, empty if there is nothing to say."""
    standing = verdict.standing
    assert standing is not None
    return [
        (b"x-auth-subject", standing.principal.id.encode()),
        (b"x-auth-kind", standing.kind.encode()),
        (b"x-auth-organization", standing.organization.id.encode()),
        (b"x-auth-credential", standing.credential_id.encode()),
        (b"x-auth-scopes", " ".join(sorted(verdict.scopes)).encode()),
        (b"x-auth-assertion", b""),
    ]


def display_of(standing: Standing) -> str:
    """How an actor reads in the audit log: `ci-bot (API key)`."""
    return f"{standing.principal.display} ({KIND_NAMES[standing.kind]})"
