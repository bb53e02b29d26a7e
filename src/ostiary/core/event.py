"""The closed list of audit events, and the details that each may carry.

An event keeps its actor's and target's names as they were. Details are chosen from the list below and never
hold a secret, a whole header or a body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from ostiary.core.model import OriginKind

Category = Literal["auth", "credentials", "directory", "access"]
Outcome = Literal["success", "refused"]
ActorType = Literal["user", "service_account", "system", "unknown"]


@dataclass(frozen=True, slots=True)
class EventKind:
    category: Category
    doc: str
    details: frozenset[str]


def _kind(category: Category, doc: str, *details: str) -> EventKind:
    return EventKind(category, doc, frozenset(details))


_COUNTED = ("count", "first", "last", "via")
_UPDATED = ("changed", "before", "after")

EVENTS: Final[Mapping[str, EventKind]] = {
    "organization.created": _kind("directory", "An organization was made.", "slug", "operator"),
    "organization.updated": _kind("directory", "Name or state of an organization were changed.", *_UPDATED),
    "policies.updated": _kind("access", "Limits of the organization were changed.", *_UPDATED),
    "project.created": _kind("directory", "A project was made.", "code"),
    "project.updated": _kind("directory", "Fields of a project were changed.", *_UPDATED),
    "project.deleted": _kind("directory", "A project was deleted and its credentials revoked.", "revoked"),
    "project.roles_changed": _kind(
        "access", "The role bindings on a project were replaced.", "before", "after"
    ),
    "role.created": _kind("access", "A role of the organization's own was made.", "scopes"),
    "role.updated": _kind("access", "A role of the organization's own was changed.", *_UPDATED),
    "role.deleted": _kind(
        "access", "A role of the organization's own was deleted, and its bindings.", "bindings"
    ),
    "scope.created": _kind("access", "A scope was added to the installation's catalogue."),
    "scope.deleted": _kind("access", "A scope was taken out of the installation's catalogue."),
    "invitation.created": _kind(
        "directory", "Somebody was invited to become a member.", "roles", "expires_at"
    ),
    "invitation.deleted": _kind("directory", "An invitation was withdrawn."),
    "invitation.accepted": _kind("directory", "An invitation was accepted."),
    "member.roles_changed": _kind(
        "access", "The role bindings of a member were replaced.", "before", "after"
    ),
    "member.removed": _kind("directory", "A member left, and its direct keys were revoked.", "revoked"),
    "member.added": _kind("directory", "A user became a member of the organization.", "roles", "account"),
    "member.recovered": _kind(
        "auth",
        "Whoever owns the data directory gave this member a new password and a new key (`init --recover`).",
    ),
    "service_account.created": _kind(
        "directory",
        "A service account was made.",
        "username",
        "contact_email",
        "access_level",
        "scopes",
        "resources",
        "projects",
        "roles",
        "grant",
    ),
    "service_account.updated": _kind("directory", "Fields of a service account were changed.", *_UPDATED),
    "service_account.roles_changed": _kind(
        "access", "The role bindings of a service account were replaced.", "before", "after"
    ),
    "service_account.disabled": _kind(
        "directory", "A service account was disabled: all of its credentials are refused from then on."
    ),
    "service_account.enabled": _kind("directory", "A disabled service account was enabled again."),
    "service_account.deleted": _kind(
        "directory", "A service account was deleted and its credentials revoked.", "revoked"
    ),
    "credential.created": _kind(
        "credentials",
        "A credential was made and its secret shown once.",
        "kind",
        "owner",
        "last6",
        "expires_at",
        "allowed_ips",
        "access_level",
        "scopes",
        "resources",
        "project",
        "rate_limit",
        "compat",
    ),
    "credential.updated": _kind("credentials", "Fields of a credential were changed.", *_UPDATED),
    "credential.deactivated": _kind(
        "credentials", "A credential was deactivated; it can be activated again."
    ),
    "credential.activated": _kind("credentials", "A deactivated credential was activated."),
    "credential.revoked": _kind("credentials", "A credential was revoked for good.", "because"),
    "credential.deleted": _kind("credentials", "A credential's row was removed for good.", "last6", "kind"),
    "credential.rotated": _kind(
        "credentials",
        "A credential got a new secret; the old one is accepted for the overlap.",
        "generation",
        "last6",
        "previous",
        "ends_at",
        "expires_at",
    ),
    "credential.rotation_completed": _kind(
        "credentials", "The old secret of a rotated credential was ended.", "generation", "previous"
    ),
    "credential.rotation_cancelled": _kind(
        "credentials",
        "A rotation was undone: the new secret was ended, the old one stays.",
        "generation",
        "last6",
        "cancelled",
    ),
    "credentials.imported": _kind(
        "credentials",
        "Keys of another system were imported, known by their digests only.",
        "owner",
        "prefix",
        "imported",
        "skipped",
        "first",
        "last",
        "limits_exceeded",
    ),
    "import_prefix.created": _kind("access", "A prefix of another system's keys was registered."),
    "import_prefix.deleted": _kind(
        "access", "A prefix was taken from the register: imported keys that begin so are not accepted."
    ),
    "credential.used_after_rotation": _kind(
        "auth",
        "A secret was presented after another one had taken its place and it had been ended; counted likewise.",
        *_COUNTED,
    ),
    "credential.used": _kind(
        "auth", "A credential was presented and accepted, counted over some seconds.", *_COUNTED
    ),
    "credential.refused": _kind(
        "auth",
        "A credential was presented and refused, counted over some seconds by credential or address and reason. "
        "`resource` is the first one that was refused, without its query, if that is the reason.",
        *_COUNTED,
        "resource",
    ),
    "token.issued": _kind(
        "auth",
        "A credential was traded for an access token.",
        "token",
        "grant_type",
        "client_id",
        "scope",
        "audience",
        "expires_at",
    ),
    "token.revoked": _kind("auth", "An access token was revoked before it expired.", "token", "expires_at"),
    "session.created": _kind("auth", "Somebody signed in: a session began.", "kind", "expires_at", "project"),
    "session.confirmed": _kind("auth", "Somebody who had signed in gave the password again."),
    "sign_in.refused": _kind("auth", "Somebody gave an email and a password, and was refused.", "purpose"),
    "password.changed": _kind(
        "auth", "Somebody chose another password, and their other sessions ended.", "ended"
    ),
    "password_reset.created": _kind(
        "auth", "A link was made by which a member may choose a new password.", "expires_at"
    ),
    "password_reset.used": _kind(
        "auth", "A new password was chosen by such a link, and all sessions of its person ended.", "ended"
    ),
    "session.revoked": _kind("auth", "A session was ended before it expired.", "because"),
    "client.created": _kind(
        "directory",
        "An application of the organization's was registered, so that it may ask people for access.",
        "access",
        "redirect_uris",
        "grant_types",
        "scopes",
        "auth_method",
        "project",
    ),
    "client.registered": _kind(
        "directory",
        "An application registered itself (RFC 7591). It stands in the operator's log.",
        "redirect_uris",
        "grant_types",
        "scopes",
        "auth_method",
    ),
    "client.updated": _kind("directory", "Fields of a client were changed.", *_UPDATED),
    "client.disabled": _kind(
        "directory", "A client was disabled: what people let it do is refused from then on."
    ),
    "client.enabled": _kind("directory", "A disabled client was enabled again."),
    "client.deleted": _kind("directory", "A client was deleted, and every consent to it ended.", "consents"),
    "consent.granted": _kind(
        "access",
        "Somebody let a client act for them, or gave another organization access.",
        "client_id",
        "scopes",
        "projects",
        "service_account",
        "session",
    ),
    "consent.denied": _kind(
        "access", "Somebody was asked to let a client act for them, and did not.", "client_id", "scopes"
    ),
    "consent.withdrawn": _kind(
        "access",
        "A consent was ended, with everything that came of it.",
        "client_id",
        "because",
        "service_account",
    ),
    "device.denied": _kind("access", "Somebody let a device have no access.", "address"),
    "device.refused": _kind("auth", "Somebody entered the code of a device, and it was not valid for them."),
    "signing_key.created": _kind(
        "access", "A key that signs tokens was made.", "purpose", "algorithm", "signs_from"
    ),
    "signing_key.revoked": _kind(
        "access", "A signing key was revoked: nothing that it signed is believed from then on.", "purpose"
    ),
    "request.refused": _kind(
        "auth", "A request to the management API was refused.", "method", "route", "status", "code"
    ),
    "access_rule.written": _kind("access", "An access rule for proxies was made or replaced.", *_UPDATED),
    "access_rule.deleted": _kind("access", "An access rule for proxies was deleted."),
}

ENDS_ACCESS: Final = frozenset(
    {
        "access_rule.deleted",
        "client.deleted",
        "client.disabled",
        "consent.withdrawn",
        "credential.deactivated",
        "credential.deleted",
        "credential.revoked",
        "credential.rotation_cancelled",
        "credential.rotation_completed",
        "import_prefix.deleted",
        "invitation.deleted",
        "member.removed",
        "project.deleted",
        "role.deleted",
        "scope.deleted",
        "service_account.deleted",
        "service_account.disabled",
        "session.revoked",
        "signing_key.created",  # in the place of one that is revoked
        "signing_key.revoked",
        "token.revoked",
    }
)
"""Events that end access. On a full disk their transactions may use the disk reserve, and no others."""
ENDS_ONE_TOKEN: Final = frozenset({"session.revoked", "token.revoked"})
"""Those of `ENDS_ACCESS` that no limit bounds: an organization has as many tokens and sessions as it asked for."""
TOKENS_SHARE: Final = 0.5
"""The part of the disk reserve that these may use. The rest is kept for what ends all tokens of a credential at once."""
CHANGES_ROLES: Final = frozenset(
    {"member.roles_changed", "project.roles_changed", "service_account.roles_changed"}
)

CATEGORIES: Final = ("auth", "credentials", "directory", "access")


def actions_in(category: str) -> tuple[str, ...]:
    """The actions of a category, for filters."""
    return tuple(name for name, kind in EVENTS.items() if kind.category == category)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: `type` is user, service_account or system. `display` is what people read."""

    type: ActorType
    id: str | None
    display: str
    credential_id: str | None = None
    credential_kind: OriginKind | None = None
    """The kind of the credential or session that the actor used, directly or by a token."""
    token_id: str | None = None
    """The token or session that was presented instead of the credential."""


@dataclass(frozen=True, slots=True)
class Target:
    type: str
    id: str
    display: str


@dataclass(frozen=True, slots=True)
class Event:
    """One audit event as a service hands it to `Tx.record`; id, time and organization are the transaction's."""

    action: str
    actor: Actor
    target: Target | None = None
    outcome: Outcome = "success"
    reason: str = ""
    address: str | None = None
    user_agent: str = ""
    request_id: str = ""
    details: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = EVENTS.get(self.action)
        if kind is None:
            raise ValueError(f"{self.action} is not in the list of events")
        unknown = set(self.details) - kind.details
        if unknown:
            raise ValueError(f"{self.action} does not carry {sorted(unknown)}")

    @property
    def ends_access(self) -> bool:
        """Return whether the event only takes access away."""
        if self.action in CHANGES_ROLES:
            before, after = (self.details.get(each) for each in ("before", "after"))
            return isinstance(before, list) and isinstance(after, list) and set(after) <= set(before)
        if self.action == "organization.updated":
            # Suspended or let in again, which only the operator's admins can do.
            return self.details.get("changed") == ["suspended_at"]
        return self.action in ENDS_ACCESS

    @property
    def reserve_share(self) -> float:
        """Return the part of the disk reserve that the event may use, from 0 to 1."""
        return TOKENS_SHARE if self.action in ENDS_ONE_TOKEN else float(self.ends_access)


SYSTEM: Final = Actor("system", None, "Ostiary")
UNKNOWN: Final = Actor("unknown", None, "unknown")
