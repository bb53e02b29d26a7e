"""`judge(standing, access) -> Verdict`: decides whether a proven credential is valid for what is asked.

`CHECKS` is the table of what is checked, in order, with the code of each refusal. `judge` runs it on every request over
cached facts; a verdict is never cached. The steps before it (form, look-up, digest) and after it (access rule, rate
limit) belong to `ostiary.auth`, which also records usage.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from ostiary.core.address import Address, is_allowed
from ostiary.core.instant import Instant
from ostiary.core.model import Standing, Token
from ostiary.core.permission import EVERYTHING, Scopes, narrow, resource_matches
from ostiary.core.url import normalized_audience

VerdictCode = Literal[
    "valid",
    "malformed",
    "unknown",
    "expired",
    "revoked",
    "deactivated",
    "disabled",
    "ip_not_allowed",
    "insufficient_scope",
    "project_not_allowed",
    "resource_not_allowed",
    "wrong_audience",
    "rate_limited",
]

FORBIDDEN_CODES: Final = frozenset(
    {"ip_not_allowed", "insufficient_scope", "project_not_allowed", "resource_not_allowed"}
)
"""Refusals of a valid credential in the wrong place or for the wrong purpose: 403. All others are one neutral 401.

`wrong_audience` is a 401, too: a token for another resource server is not a valid token here (RFC 6750 §3.1).
"""

NO_SCOPES: Final[Scopes] = frozenset()


class Access(NamedTuple):
    """What is requested: with which secret, when, from where, and for what. A tuple, because every request creates
    one.

    `digest` is the digest of the presented secret with the standing's pepper. For a token, `standing` is its origin's
    and no digest is compared: the token was verified before. `project` is an id of the credential's organization;
    `unknown_project` says that the request named a project that does not exist there.
    """

    now: Instant
    address: Address | None = None
    scopes: Scopes = NO_SCOPES
    project: str | None = None
    unknown_project: bool = False
    resource: str | None = None
    about_itself: bool = False
    """The credential only asks about itself. It uses no resource, so none has to be named."""
    token: Token | None = None
    """The presented token, if a token was presented."""
    audience: str | None = None
    """The required audience of a token. None: any. Credentials themselves have no audience."""
    tenant: str | None = None
    """Id of the only organization whose credentials the asker may know; None: any."""


class Verdict(NamedTuple):
    """The result and its reason. `standing` is set once the secret was proven; `scopes` are the scopes on the target."""

    code: VerdictCode
    standing: Standing | None = None
    scopes: Scopes = NO_SCOPES
    missing: Scopes = NO_SCOPES
    project: str | None = None
    token: Token | None = None

    @property
    def valid(self) -> bool:
        return self.code == "valid"


MALFORMED: Final = Verdict("malformed")
UNKNOWN: Final = Verdict("unknown")
LIMITED: Final = Verdict("rate_limited")
"""For a request that was not looked up, because too many look-ups from its address failed. `judge` does not return it."""


Refuses = Callable[[Standing, Access], VerdictCode | None]


class Check(NamedTuple):
    """One step of the judgement: `refuses` returns one of `codes`, or None to go on to the next check."""

    step: str
    codes: tuple[VerdictCode, ...]
    refuses: Refuses
    concerns: Callable[[Standing], object] = lambda _standing: True
    """Whether it can refuse this standing at all, by facts that do not change. If not, it is skipped."""
    of_tokens: bool = False
    """Whether it is about a presented token or session, and skipped for a secret."""


def _tenant(standing: Standing, access: Access) -> VerdictCode | None:
    tenant = access.tenant
    return None if tenant is None or standing.organization.id == tenant else "unknown"


def _status(standing: Standing, access: Access) -> VerdictCode | None:
    status = standing.status(access.now)
    return None if status == "active" else status


def _has_status(standing: Standing) -> bool:
    return (
        standing.revoked_at is not None
        or standing.deactivated_at is not None
        or standing.ended_at is not None
        or standing.expires_at is not None
        or standing.ends_at is not None
    )


def _principal(standing: Standing, _access: Access) -> VerdictCode | None:
    return "disabled" if standing.principal.barred else None


def _organization(standing: Standing, _access: Access) -> VerdictCode | None:
    return None if standing.organization.suspended_at is None else "disabled"


def _token(_standing: Standing, access: Access) -> VerdictCode | None:
    token = access.token
    if token is None:
        return None
    if token.revoked:
        return "revoked"
    return "expired" if token.expires_at <= access.now else None


def _address(standing: Standing, access: Access) -> VerdictCode | None:
    if not standing.networks or is_allowed(access.address, standing.networks):
        return None
    return "ip_not_allowed"


def _audience(_standing: Standing, access: Access) -> VerdictCode | None:
    token, audience = access.token, access.audience
    return None if token is None or audience is None or _is_meant_for(token, audience) else "wrong_audience"


def _project(standing: Standing, access: Access) -> VerdictCode | None:
    only, limited = standing.project_id, standing.principal.projects
    if only is None and not limited and not access.unknown_project:
        return None
    project = access.project
    if access.unknown_project or (only is not None and project != only):
        return "project_not_allowed"
    if limited and project not in limited and not (project is None and access.about_itself):
        return "project_not_allowed"
    return None


def _scope(standing: Standing, access: Access) -> VerdictCode | None:
    return "insufficient_scope" if access.scopes and _missing(standing, access) else None


def _resource(standing: Standing, access: Access) -> VerdictCode | None:
    if access.about_itself or not (standing.resources or standing.principal.resources):
        return None
    for patterns in (standing.resources, standing.principal.resources):
        if patterns and not resource_matches(patterns, access.resource):
            return "resource_not_allowed"
    return None


CHECKS: Final = (
    Check("tenant of the asker", ("unknown",), _tenant),
    Check("status", ("revoked", "expired", "deactivated"), _status, _has_status),
    Check("principal", ("disabled",), _principal, lambda each: each.principal.barred),
    Check(
        "organization", ("disabled",), _organization, lambda each: each.organization.suspended_at is not None
    ),
    Check("token", ("revoked", "expired"), _token, of_tokens=True),
    Check("address", ("ip_not_allowed",), _address, lambda each: each.networks),
    Check("audience", ("wrong_audience",), _audience, of_tokens=True),
    Check("project", ("project_not_allowed",), _project),
    Check("scope", ("insufficient_scope",), _scope),
    Check(
        "resource",
        ("resource_not_allowed",),
        _resource,
        lambda each: each.resources or each.principal.resources,
    ),
)
"""What is checked of a proven credential. The first check that refuses gives the code.

The tenant comes first: what an organization may not know is `unknown` to it, whatever else is wrong with it.
"""


def judge(standing: Standing, access: Access) -> Verdict:
    """Judge one credential by its facts. The first check that fails decides the code."""
    token = access.token
    for refuses in (standing.checks or _checks_of(standing)) if token is None else _OF_TOKENS:
        code = refuses(standing, access)
        if code is not None:
            return _refusal(code, standing, access)
    return Verdict("valid", standing, _held(standing, access), NO_SCOPES, access.project, token)


_OF_TOKENS: Final = tuple(each.refuses for each in CHECKS)


def _checks_of(standing: Standing) -> tuple[Refuses, ...]:
    """The checks of a presented secret, kept with its standing: they follow from facts, and are no verdict."""
    found = _selected(tuple(not each.of_tokens and bool(each.concerns(standing)) for each in CHECKS))
    object.__setattr__(standing, "checks", found)
    return found


@lru_cache(1024)
def _selected(wanted: tuple[bool, ...]) -> tuple[Refuses, ...]:
    """The same selection as one object for all standings."""
    return tuple(check.refuses for check, so in zip(CHECKS, wanted, strict=True) if so)


def _refusal(code: VerdictCode, standing: Standing, access: Access) -> Verdict:
    if code == "unknown":
        return UNKNOWN  # nothing is told of what the asker may not know
    missing = _missing(standing, access) if code == "insufficient_scope" else NO_SCOPES
    return Verdict(code, standing, missing=missing, token=access.token)


def _held(standing: Standing, access: Access) -> Scopes:
    """What it may do on the target: a token no more than it was granted."""
    scopes, token = scopes_on(standing, access.project), access.token
    return scopes if token is None or token.scopes & EVERYTHING else scopes & token.scopes


def _missing(standing: Standing, access: Access) -> Scopes:
    """The scopes that are asked for and not held. `api` is held by what is limited to no scopes."""
    missing = access.scopes - _held(standing, access)
    if not missing:
        return NO_SCOPES
    whole = access.token is None or bool(access.token.scopes & EVERYTHING)
    return NO_SCOPES if whole and missing <= EVERYTHING and _covers_everything(standing) else missing


def _covers_everything(standing: Standing) -> bool:
    """Return whether the credential may be asked for `api`: it lists no scopes, or lists `api`."""
    return standing.access_level == "full" or bool(EVERYTHING & frozenset(standing.scopes))


def _is_meant_for(token: Token, audience: str) -> bool:
    """Return whether the audience is among the token's, in any equivalent spelling."""
    # Nearly always the spelling is the same, and the fast comparison is enough.
    return audience in token.audiences or normalized_audience(audience) in map(
        normalized_audience, token.audiences
    )


# Scopes


def scopes_on(standing: Standing, project_id: str | None) -> Scopes:
    """Scopes of the owner's roles on the target ∩ the account's ceiling ∩ the credential's own."""
    if project_id is None:
        found = standing.on_organization
        if found is None:
            found = _work_out(standing, None)
            object.__setattr__(standing, "on_organization", found)
        return found
    known = standing.on_projects
    if known is None:
        known = {}
        object.__setattr__(standing, "on_projects", known)
    found = known.get(project_id)
    if found is None:
        found = _work_out(standing, project_id)
        if len(known) < 64:  # bounded against many projects
            known[project_id] = found
    return found


def scopes_anywhere(standing: Standing) -> Scopes:
    """What it may do on some target or other: what a token for it may be asked for."""
    targets = {grant.project_id for grant in standing.grants}
    return frozenset().union(*(scopes_on(standing, each) for each in targets))


def _work_out(standing: Standing, project_id: str | None) -> Scopes:
    everywhere = project_id if project_id in standing.foreign else None
    held: Scopes = frozenset().union(
        *(grant.scopes for grant in standing.grants if grant.project_id in (everywhere, project_id))
    )
    owner = standing.principal
    held = narrow(held, owner.access_level == "fine_grained", owner.scopes)
    return _one(narrow(held, standing.access_level == "fine_grained", standing.scopes))


@lru_cache(4096)
def _one(scopes: Scopes) -> Scopes:
    """The same scopes as one object for all standings: a set of thirty takes 2 kB, and most have an equal one."""
    return scopes
