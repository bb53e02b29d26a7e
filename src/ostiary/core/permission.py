"""Who calls and what they may do: callers, scopes, built-in roles, resource patterns, limits.

It owns the algebra of scopes; which roles a principal holds is the directory's business.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ostiary.core.address import Address, Network
from ostiary.core.event import Actor
from ostiary.core.instant import DAY, HOUR, MINUTE, Instant
from ostiary.core.problem import Problem

Scopes = frozenset[str]

RESERVED_NOUNS: Final = (
    "organization",
    "projects",
    "members",
    "roles",
    "policies",
    "service-accounts",
    "credentials",
    "sessions",
    "clients",
    "webhooks",
    "alerts",
    "usage",
)
API_SCOPES: Final[Scopes] = frozenset(
    {f"{verb}:{noun}" for verb in ("read", "write") for noun in RESERVED_NOUNS}
    | {"read:audit", "verify:credentials"}
)
"""The permissions of this API. A catalogue cannot define their nouns."""

EVERYTHING: Final[Scopes] = frozenset({"api", "m2m"})
"""Scopes that every principal may ask for: all that its roles and access level allow at the moment of use."""

FIRST_CATALOGUE: Final = ("read:agents", "read:plugins", "write:agents", "write:plugins")

OPERATOR_ADMIN: Final = "operator-admin"
"""The role that may act in every organization. It exists in the operator's organization only, and only a holder can
give it. A feature that copies the roles of a creator must leave this one out.
"""

BUILT_IN_ROLES: Final = ("organization-admin", OPERATOR_ADMIN, "developer", "viewer", "resource-server")

_SCOPE = re.compile(r"[a-z]{1,32}:[a-z][a-z0-9-]{0,62}")
_PATTERN = re.compile(r"[A-Za-z0-9._~@:-]+(/[A-Za-z0-9._~@:-]+)*(/\*)?")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks a service for something: a principal by one of its credentials, and where it stands."""

    actor: Actor
    organization_id: str
    scopes: Scopes
    operator: bool = False
    """Whether the organization it acts in is the operator's."""
    operator_admin: bool = False
    """Whether it holds the role operator-admin, so that it may act in any organization. Always false for applications."""
    access_id: str | None = None
    """Of the secret that was presented; None for callers without one, such as the duties."""
    fine_grained: bool = False
    """Whether the presented credential may do only what it lists."""
    expires_at: Instant | None = None
    networks: tuple[Network, ...] = ()
    rate_limit: int | None = None
    """Limits of the presented secret, which may end by a rotation first: what it makes for its own user may not outlive
    or outreach it."""
    token_id: str | None = None
    """Of the token or session that was presented in the credential's place."""
    exchanged_from: str | None = None
    granted: Scopes | None = None
    """What the token was granted; None: all that its credential may do."""
    application: str | None = None
    """The client that somebody lets act for them, if one acts; this program's own is none."""
    address: Address | None = None
    user_agent: str = ""
    request_id: str = ""

    def may(self, scope: str) -> bool:
        return scope in self.scopes


def require(caller: Caller, scope: str) -> None:
    """Raise insufficient-permissions unless the caller holds the scope in the organization it acts in."""
    if not caller.may(scope):
        raise Problem(
            "insufficient-permissions",
            f"This needs the scope {scope}, which the presented credential does not have.",
            members={"scope": scope},
            reason=f"lacks {scope}",
        )


def require_no_application(caller: Caller) -> None:
    """What would outlive a consent is not made by it: its withdrawal shall end all that came of it.

    So it is with links: whoever has one becomes the person that it is for.
    """
    if caller.application is not None:
        raise Problem(
            "insufficient-permissions",
            "An application that acts for somebody gives no roles, credentials, invitations or links: they would outlive "
            "the consent.",
            reason="an application acts",
        )


def require_operator(caller: Caller, scope: str) -> None:
    """What belongs to the installation is the operator's organization's to read and change."""
    require(caller, scope)
    if not caller.operator:
        raise Problem(
            "insufficient-permissions",
            "This belongs to the installation: only the operator's organization may do it.",
            reason="not the operator's organization",
        )


def require_operator_admin(caller: Caller, what: str) -> None:
    """Raise insufficient-permissions unless the caller is an operator admin. `what` completes the sentence "may …"."""
    if not caller.operator_admin:
        raise Problem(
            "insufficient-permissions",
            f"Only a holder of the role {OPERATOR_ADMIN} in the operator's organization may {what}.",
            reason=f"lacks {OPERATOR_ADMIN}",
        )


def is_scope(text: str) -> bool:
    """Whether the text has the form `verb:noun`, or is one of the scopes that mean everything."""
    return text in EVERYTHING or _SCOPE.fullmatch(text) is not None


def role_scopes(role: str, catalogue: Scopes) -> Scopes:
    """What a built-in role grants, given the installation's catalogue. An unknown role grants nothing."""
    if role in ("organization-admin", OPERATOR_ADMIN):
        return API_SCOPES | catalogue
    if role == "developer":
        return _verbs(catalogue, "read", "write") | {"read:service-accounts"}
    if role == "viewer":
        return _verbs(catalogue, "read") | {"read:service-accounts"}
    if role == "resource-server":
        return frozenset({"verify:credentials"})
    return frozenset()


def _verbs(catalogue: Scopes, *verbs: str) -> Scopes:
    return frozenset(scope for scope in catalogue if scope.partition(":")[0] in verbs)


def narrow(held: Scopes, fine_grained: bool, listed: Iterable[str]) -> Scopes:
    """What is left of the held scopes: all at full access, at fine-grained access only the listed ones.

    A list that names `api` narrows nothing; an empty list leaves nothing.
    """
    if not fine_grained:
        return held
    listed = frozenset(listed)
    return held if listed & EVERYTHING else held & listed


def is_resource_pattern(text: str) -> bool:
    """An exact path such as `agents/agent_123`, or `prefix/*` for everything below; nothing else."""
    return len(text) <= 256 and _PATTERN.fullmatch(text) is not None and not _has_dots(text)


def resource_matches(patterns: tuple[str, ...], resource: str | None) -> bool:
    """Whether one of the patterns covers the resource. Without patterns, everything; without a resource, nothing."""
    if not patterns:
        return True
    if resource is None or _has_dots(resource):
        return False
    return any(
        resource == pattern if not pattern.endswith("/*") else _below(resource, pattern[:-1])
        for pattern in patterns
    )


def _below(resource: str, prefix: str) -> bool:
    return resource.startswith(prefix) and len(resource) > len(prefix)


def _has_dots(path: str) -> bool:
    return any(segment in {"", ".", ".."} for segment in path.split("/"))


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of an organization. None is no limit; lengths of time are microseconds."""

    max_credentials_per_service_account: int | None = 10
    max_credentials_per_organization: int | None = 100
    default_credential_lifetime: int | None = None
    max_credential_lifetime: int | None = None
    deletion_delay: int = 24 * HOUR
    rate_limit: int | None = 1000
    """Uses of a credential a minute."""
    session_lifetime: int = 30 * DAY
    """How long a session lasts at most that a login with a key file begins."""
    max_service_accounts: int | None = None
    """Counts accounts that people made through a browser session."""

    def overridden(self, chosen: Mapping[str, Any]) -> "Policy":
        """This policy with what an organization chose in its place."""
        return replace(self, **chosen)

    def within(self, ceilings: Mapping[str, Any]) -> "Policy":
        """This policy with no limit above its ceiling; None is no limit, and above any."""
        lowered = {}
        for name, ceiling in ceilings.items():
            value = getattr(self, name)
            if ceiling is not None and (value is None or value > ceiling):
                lowered[name] = ceiling
        return replace(self, **lowered)

    def chosen_within(self, chosen: Mapping[str, Any], ceilings: Mapping[str, Any]) -> "Policy":
        """The limits in force: what an organization chose, else these within its ceilings."""
        return self.within(ceilings).overridden(chosen)

    def rate_of(self, own: int | None) -> int | None:
        """Uses a minute of a credential with this limit of its own, which only lowers the policy's."""
        if own is None or self.rate_limit is None:
            return self.rate_limit if own is None else own
        return min(own, self.rate_limit)

    def check(self, limit: str, count: int, more: int = 1) -> None:
        """Raise limit-reached if `more` things beside the `count` that exist would be more than the limit's value."""
        value: int | None = getattr(self, limit)
        if value is not None and count + more > value:
            raise Problem(
                "limit-reached",
                f"{limit} is {value}, and {count} exist. Revoke one that is no longer needed, or ask for a higher limit.",
                members={"limit": limit, "value": value, "count": count},
                reason=f"{limit} reached",
            )


MAX_LIFETIME: Final = 36_500 * DAY
"""An expiry further away than a hundred years is a typing error."""
MAX_DELETION_DELAY: Final = 30 * DAY
SESSION_LIFETIMES: Final = (5 * MINUTE, 365 * DAY)
"""The shortest and the longest that may be chosen."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The scopes that may be named, and what the built-in roles and an organization's own ones mean by them."""

    names: Scopes
    own: Mapping[str, Scopes] = field(default_factory=dict)
    """The organization's own roles. A scope that has left the catalogue is granted by none."""
    _roles: dict[str, Scopes] = field(default_factory=dict, init=False, compare=False, repr=False)

    def knows(self, scope: str) -> bool:
        return scope in self.names or scope in API_SCOPES or scope in EVERYTHING

    def granted(self, listed: Iterable[str]) -> Scopes:
        """What a list of scopes grants: those that exist."""
        return frozenset(listed) & (self.names | API_SCOPES)

    def has_role(self, role: str) -> bool:
        return role in BUILT_IN_ROLES or role in self.own

    def role(self, role: str) -> Scopes:
        found = self._roles.get(role)
        if found is None:
            found = self.granted(self.own[role]) if role in self.own else role_scopes(role, self.names)
            self._roles[role] = found
        return found
