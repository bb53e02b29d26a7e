"""Callers and what they may do: scopes, built-in roles, resource patterns, limits.

The rules for combining scopes are here. `storage` and `services` know which roles a principal holds.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
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
"""The scopes of the management API. Scopes in a catalogue must use other nouns."""

EVERYTHING: Final[Scopes] = frozenset({"api", "m2m"})
"""Scopes that any principal may request. They stand for all that its roles and access level allow at the moment of
use."""

FIRST_CATALOGUE: Final = ("read:agents", "read:plugins", "write:agents", "write:plugins")

OPERATOR_ADMIN: Final = "operator-admin"
"""The role that may act in every organization. It exists in the operator's organization only, and only a holder can
assign it. A feature that copies a creator's roles must leave it out."""

BUILT_IN_ROLES: Final = ("organization-admin", OPERATOR_ADMIN, "developer", "viewer", "resource-server")

_SCOPE = re.compile(r"[a-z]{1,32}:[a-z][a-z0-9-]{0,62}")
_PATTERN = re.compile(r"[A-Za-z0-9._~@:-]+(/[A-Za-z0-9._~@:-]+)*(/\*)?")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls a service: a principal that presented one of its credentials, with its organization, scopes and
    limits."""

    actor: Actor
    organization_id: str
    scopes: Scopes
    operator: bool = False
    """Whether the organization that it acts in is the operator's."""
    operator_admin: bool = False
    """Whether it has the role operator-admin and so may act in any organization. Always false for applications."""
    access_id: str | None = None
    """The access id of the presented secret. None for callers without a secret, such as periodic tasks."""
    fine_grained: bool = False
    """Whether the presented credential is limited to the scopes that it lists."""
    expires_at: Instant | None = None
    networks: tuple[Network, ...] = ()
    rate_limit: int | None = None
    """`expires_at`, `networks` and `rate_limit` are limits of the presented secret, which a rotation may end earlier.
    Credentials that it creates for its own user must not exceed them."""
    token_id: str | None = None
    """The id of the token or session that was presented instead of the credential."""
    exchanged_from: str | None = None
    granted: Scopes | None = None
    """The scopes granted to the token. None: everything that its credential may do."""
    application: str | None = None
    """The id of the OAuth client that acts for a user. None for direct use and for Ostiary's own client."""
    address: Address | None = None
    user_agent: str = ""
    request_id: str = ""

    def may(self, scope: str) -> bool:
        return scope in self.scopes


def require(caller: Caller, scope: str) -> None:
    """Raise insufficient-permissions unless the caller has the scope in the organization that it acts in."""
    if not caller.may(scope):
        raise Problem(
            "insufficient-permissions",
            f"This needs the scope {scope}, which the presented credential does not have.",
            members={"scope": scope},
            reason=f"lacks {scope}",
        )


def require_no_application(caller: Caller) -> None:
    """Raise insufficient-permissions if an application acts for a user.

    An application must not create what would outlive its consent, because withdrawing a consent ends all access that
    is based on it. This includes links: with a link, its holder becomes the person that it is for.
    """
    if caller.application is not None:
        raise Problem(
            "insufficient-permissions",
            "An application that acts for a person cannot assign roles or create credentials, invitations or links: "
            "they would outlive the consent.",
            reason="an application acts",
        )


def require_operator(caller: Caller, scope: str) -> None:
    """Raise insufficient-permissions unless the caller has the scope and acts in the operator's organization.

    Objects of the installation, such as the scope catalogue, are read and changed there only.
    """
    require(caller, scope)
    if not caller.operator:
        raise Problem(
            "insufficient-permissions",
            "This applies to the whole installation. Only the operator's organization may do it.",
            reason="not the operator's organization",
        )


def require_operator_admin(caller: Caller, what: str) -> None:
    """Raise insufficient-permissions unless the caller is an operator admin. `what` completes the sentence "… may …"."""
    if not caller.operator_admin:
        raise Problem(
            "insufficient-permissions",
            f"Only a holder of the role {OPERATOR_ADMIN} in the operator's organization may {what}.",
            reason=f"lacks {OPERATOR_ADMIN}",
        )


def is_scope(text: str) -> bool:
    """Return whether the text has the form `verb:noun`, or is one of the scopes in EVERYTHING."""
    return text in EVERYTHING or _SCOPE.fullmatch(text) is not None


def role_scopes(role: str, catalogue: Scopes) -> Scopes:
    """Return the scopes of a built-in role, given the catalogue. An unknown role has none."""
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
    """Return the held scopes that remain: all with full access, only the listed ones with fine-grained access.

    A list with `api` keeps all held scopes. An empty list keeps none.
    """
    if not fine_grained:
        return held
    listed = frozenset(listed)
    return held if listed & EVERYTHING else held & listed


def is_resource_pattern(text: str) -> bool:
    """Return whether the text is an exact path such as `agents/agent_123`, or `prefix/*` for everything below a path."""
    return len(text) <= 256 and _PATTERN.fullmatch(text) is not None and not _has_dots(text)


def resource_matches(patterns: tuple[str, ...], resource: str | None) -> bool:
    """Return whether the patterns allow the resource. Without patterns, any resource is allowed. With patterns, None
    is not."""
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
    """The limits of an organization. None means unlimited. Lengths of time are in microseconds."""

    max_credentials_per_service_account: int | None = 10
    max_credentials_per_organization: int | None = 100
    max_service_accounts: int | None = None
    """Counts only accounts that people created through a browser session."""
    default_credential_lifetime: int | None = None
    max_credential_lifetime: int | None = None
    deletion_delay: int = 24 * HOUR
    rate_limit: int | None = 1000
    """Uses of one credential per minute."""
    session_lifetime: int = 30 * DAY
    """The longest lifetime of a session that was created with a key file."""

    def overridden(self, chosen: Mapping[str, Any]) -> "Policy":
        """Return this policy with the values that an organization chose."""
        return replace(self, **chosen)

    def within(self, ceilings: Mapping[str, Any]) -> "Policy":
        """Return this policy with each limit lowered to its ceiling. A ceiling of None lowers nothing."""
        lowered = {}
        for name, ceiling in ceilings.items():
            value = getattr(self, name)
            if ceiling is not None and (value is None or value > ceiling):
                lowered[name] = ceiling
        return replace(self, **lowered)

    def chosen_within(self, chosen: Mapping[str, Any], ceilings: Mapping[str, Any]) -> "Policy":
        """Return the limits in force: the organization's choices, else this policy's values within its ceilings."""
        return self.within(ceilings).overridden(chosen)

    def rate_of(self, own: int | None) -> int | None:
        """Return the uses per minute of a credential with this limit of its own. It can only lower the policy's limit."""
        if own is None or self.rate_limit is None:
            return self.rate_limit if own is None else own
        return min(own, self.rate_limit)

    def check(self, limit: str, count: int, more: int = 1) -> None:
        """Raise limit-reached if the `count` existing objects and `more` new ones exceed the limit of this name."""
        value: int | None = getattr(self, limit)
        if value is not None and count + more > value:
            raise Problem(
                "limit-reached",
                f"{limit} is {value}, and {count} exist. Remove one that is no longer needed, or ask for a higher limit.",
                members={"limit": limit, "value": value, "count": count},
                reason=f"{limit} reached",
            )


POLICIES: Final = tuple(each.name for each in fields(Policy))
"""The names of all limits, in the order in which they are shown."""
MAX_LIFETIME: Final = 36_500 * DAY
"""An expiry more than a hundred years away is a typing error."""
MAX_DELETION_DELAY: Final = 30 * DAY
SESSION_LIFETIMES: Final = (5 * MINUTE, 365 * DAY)
"""The shortest and the longest session lifetime that an organization may choose."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The scopes that exist, and the scopes of built-in and custom roles."""

    names: Scopes
    own: Mapping[str, Scopes] = field(default_factory=dict)
    """The organization's custom roles. They do not grant scopes that have been removed from the catalogue."""
    _roles: dict[str, Scopes] = field(default_factory=dict, init=False, compare=False, repr=False)

    def knows(self, scope: str) -> bool:
        return scope in self.names or scope in API_SCOPES or scope in EVERYTHING

    def granted(self, listed: Iterable[str]) -> Scopes:
        """Return those of the listed scopes that exist."""
        return frozenset(listed) & (self.names | API_SCOPES)

    def has_role(self, role: str) -> bool:
        return role in BUILT_IN_ROLES or role in self.own

    def role(self, role: str) -> Scopes:
        found = self._roles.get(role)
        if found is None:
            found = self.granted(self.own[role]) if role in self.own else role_scopes(role, self.names)
            self._roles[role] = found
        return found
