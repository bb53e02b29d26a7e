"""The closed list of audit events, and the details that each event may carry.

An event keeps the names of actor and target as they were at the time. Details are limited to the names listed below,
and never contain a secret, a whole header or a body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

OriginKind = Literal["api_key", "client_secret", "key_file", "session"]
"""The kind of what an actor presented: a credential, or a session that acts for its owner."""
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
    "organization.created": _kind("directory", "An organization was created.", "slug", "operator"),
    "organization.updated": _kind(
        "directory", "The name or state of an organization was changed.", *_UPDATED
    ),
    "policies.updated": _kind("access", "The limits of the organization were changed.", *_UPDATED),
    "project.created": _kind("directory", "A project was created.", "code"),
    "project.updated": _kind("directory", "Fields of a project were changed.", *_UPDATED),
    "project.deleted": _kind(
        "directory", "A project was deleted and its credentials were revoked.", "revoked"
    ),
    "project.roles_changed": _kind(
        "access", "The role bindings on a project were replaced.", "before", "after"
    ),
    "role.created": _kind("access", "A custom role was created.", "scopes"),
    "role.updated": _kind("access", "A custom role was changed.", *_UPDATED),
    "role.deleted": _kind("access", "A custom role and its bindings were deleted.", "bindings"),
    "scope.created": _kind("access", "A scope was added to the installation's catalogue."),
    "scope.deleted": _kind("access", "A scope was removed from the installation's catalogue."),
    "invitation.created": _kind(
        "directory", "A person was invited to become a member.", "roles", "expires_at"
    ),
    "invitation.deleted": _kind("directory", "An invitation was withdrawn."),
    "invitation.accepted": _kind("directory", "An invitation was accepted."),
    "member.roles_changed": _kind(
        "access", "The role bindings of a member were replaced.", "before", "after"
    ),
    "member.removed": _kind(
        "directory", "A member was removed or left, and their own API keys were revoked.", "revoked"
    ),
    "member.added": _kind("directory", "A user became a member of the organization.", "roles", "account"),
    "member.recovered": _kind(
        "auth",
        "The owner of the data directory gave this member a new password and a new key (`init --recover`).",
    ),
    "service_account.created": _kind(
        "directory",
        "A service account was created.",
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
        "directory", "A service account was disabled. All of its credentials are refused from then on."
    ),
    "service_account.enabled": _kind("directory", "A disabled service account was enabled again."),
    "service_account.deleted": _kind(
        "directory", "A service account was deleted and its credentials were revoked.", "revoked"
    ),
    "credential.created": _kind(
        "credentials",
        "A credential was created and its secret was shown once.",
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
        "credentials", "A credential was deactivated. It can be activated again."
    ),
    "credential.activated": _kind("credentials", "A deactivated credential was activated."),
    "credential.revoked": _kind("credentials", "A credential was revoked permanently.", "because"),
    "credential.deleted": _kind("credentials", "A credential was deleted permanently.", "last6", "kind"),
    "credential.rotated": _kind(
        "credentials",
        "A credential got a new secret. The old one is accepted during the overlap.",
        "generation",
        "last6",
        "previous",
        "ends_at",
        "expires_at",
    ),
    "credential.rotation_completed": _kind(
        "credentials", "A rotation was completed: the old secret ended.", "generation", "previous"
    ),
    "credential.rotation_cancelled": _kind(
        "credentials",
        "A rotation was cancelled: the new secret ended, and the old one stays valid.",
        "generation",
        "last6",
        "cancelled",
    ),
    "credentials.imported": _kind(
        "credentials",
        "Keys of another system were imported by their digests.",
        "owner",
        "prefix",
        "imported",
        "skipped",
        "first",
        "last",
        "limits_exceeded",
    ),
    "import_prefix.created": _kind("access", "The prefix of another system's keys was registered."),
    "import_prefix.deleted": _kind(
        "access", "A registered prefix was deleted. Imported keys with this prefix are no longer accepted."
    ),
    "credential.used_after_rotation": _kind(
        "auth",
        "A secret was presented after a rotation had replaced and ended it. Counted over some seconds.",
        *_COUNTED,
    ),
    "credential.used": _kind(
        "auth", "A credential was presented and accepted. Counted over some seconds.", *_COUNTED
    ),
    "credential.refused": _kind(
        "auth",
        "A credential was presented and refused. Counted over some seconds, by reason and by credential or IP address. "
        "`resource` is set if the resource is the reason: the first refused resource, without its query.",
        *_COUNTED,
        "resource",
    ),
    "token.issued": _kind(
        "auth",
        "An access token was issued in exchange for a credential.",
        "token",
        "grant_type",
        "client_id",
        "scope",
        "audience",
        "expires_at",
    ),
    "token.revoked": _kind("auth", "An access token was revoked before it expired.", "token", "expires_at"),
    "session.created": _kind(
        "auth",
        "A session began, by sign-in, device, application or key file.",
        "kind",
        "expires_at",
        "project",
    ),
    "session.confirmed": _kind("auth", "A signed-in person confirmed their password."),
    "sign_in.refused": _kind("auth", "An email and password were refused.", "purpose"),
    "password.changed": _kind(
        "auth", "A person changed their password, and their other sessions ended.", "ended"
    ),
    "password_reset.created": _kind("auth", "A password reset link was created for a member.", "expires_at"),
    "password_reset.used": _kind(
        "auth", "A person set a new password with a reset link, and all their sessions ended.", "ended"
    ),
    "session.revoked": _kind("auth", "A session was ended before it expired.", "because"),
    "client.created": _kind(
        "directory",
        "An application was registered for the organization, so that it can ask people for access.",
        "access",
        "redirect_uris",
        "grant_types",
        "scopes",
        "auth_method",
        "project",
    ),
    "client.registered": _kind(
        "directory",
        "An application registered itself (RFC 7591). Recorded in the operator's log.",
        "redirect_uris",
        "grant_types",
        "scopes",
        "auth_method",
    ),
    "client.updated": _kind("directory", "Fields of a client were changed.", *_UPDATED),
    "client.disabled": _kind(
        "directory", "A client was disabled. The access that people gave it is refused from then on."
    ),
    "client.enabled": _kind("directory", "A disabled client was enabled again."),
    "client.deleted": _kind("directory", "A client was deleted, and all consents for it ended.", "consents"),
    "consent.granted": _kind(
        "access",
        "A person allowed a client to act for them, or gave another organization access.",
        "client_id",
        "scopes",
        "projects",
        "service_account",
        "session",
    ),
    "consent.denied": _kind(
        "access", "A person was asked to allow a client to act for them, and declined.", "client_id", "scopes"
    ),
    "consent.withdrawn": _kind(
        "access",
        "A consent ended, and with it all access that is based on it.",
        "client_id",
        "because",
        "service_account",
    ),
    "device.denied": _kind("access", "A person denied a device access.", "address"),
    "device.refused": _kind("auth", "A person entered a device's code that was not valid for them."),
    "signing_key.created": _kind(
        "access", "A signing key was created.", "purpose", "algorithm", "signs_from"
    ),
    "signing_key.revoked": _kind(
        "access", "A signing key was revoked. Tokens that it signed are refused from then on.", "purpose"
    ),
    "request.refused": _kind(
        "auth", "A request to the management API was refused.", "method", "route", "status", "code"
    ),
    "access_rule.written": _kind("access", "An access rule for proxies was created or replaced.", *_UPDATED),
    "access_rule.deleted": _kind("access", "An access rule for proxies was deleted."),
}

ACCESS_ENDING_EVENTS: Final = frozenset(
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
        "signing_key.created",  # it replaces a key that is revoked
        "signing_key.revoked",
        "token.revoked",
    }
)
"""Events that end access. When the disk is full, only the transactions of these events may use the disk reserve."""
ENDS_ONE_TOKEN: Final = frozenset({"session.revoked", "token.revoked"})
"""The events of `ACCESS_ENDING_EVENTS` that no limit bounds: an organization can have any number of tokens and sessions."""
TOKENS_SHARE: Final = 0.5
"""The part of the disk reserve that these may use. The rest is kept for events that end all tokens of a credential."""
CHANGES_ROLES: Final = frozenset(
    {"member.roles_changed", "project.roles_changed", "service_account.roles_changed"}
)

CATEGORIES: Final = ("auth", "credentials", "directory", "access")


def actions_in(category: str) -> tuple[str, ...]:
    """Return the actions of a category, for filters."""
    return tuple(name for name, kind in EVENTS.items() if kind.category == category)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it. `type` is user, service_account, system or unknown; `display` is the name that people read."""

    type: ActorType
    id: str | None
    display: str
    credential_id: str | None = None
    credential_kind: OriginKind | None = None
    """The kind of the credential or session that the actor used, directly or through a token."""
    token_id: str | None = None
    """The token or session that was presented instead of the credential."""


@dataclass(frozen=True, slots=True)
class Target:
    type: str
    id: str
    display: str


@dataclass(frozen=True, slots=True)
class Event:
    """One audit event as a service passes it to `Tx.record`, which adds id, time and organization.

    Raises ValueError if the action is not in the list, or has a detail that its entry does not name.
    """

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
            # Suspension and its reversal, which only operator admins can do.
            return self.details.get("changed") == ["suspended_at"]
        return self.action in ACCESS_ENDING_EVENTS

    @property
    def reserve_share(self) -> float:
        """Return the part of the disk reserve that the event may use, from 0 to 1."""
        return TOKENS_SHARE if self.action in ENDS_ONE_TOKEN else float(self.ends_access)


SYSTEM: Final = Actor("system", None, "Ostiary")
UNKNOWN: Final = Actor("unknown", None, "unknown")
