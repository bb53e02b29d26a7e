"""`judge(standing, access) -> Verdict`: decides whether a proven credential is valid for what is asked.

`CHECKS` is the table of what is checked, in order, with the code of each refusal. `judge` runs it on every request over
cached facts; a verdict is never cached. The steps before it (form, look-up, digest) and after it (access rule, rate
limit) belong to `ostiary.auth`.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from ostiary.core.address import Address, allowed
from ostiary.core.instant import Instant
from ostiary.core.model import Standing, Token
from ostiary.core.permission import EVERYTHING, Scopes, resource_matches
from ostiary.core.url import comparable

Code = Literal[
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

WRONG_PLACE: Final = frozenset(
    {"ip_not_allowed", "insufficient_scope", "project_not_allowed", "resource_not_allowed"}
)
"""Refusals of a credential that is good, but not here or not for this: 403. All others are one neutral 401.

So is a token that is meant for somebody else: here it is no token at all (RFC 6750 §3.1).
"""

NO_SCOPES: Final[Scopes] = frozenset()


class Access(NamedTuple):
    """What is asked of a proven credential: when, from where, for what. A tuple, for one is made for every request.

    `project` is an id of the credential's organization; a name that is no project there is `unknown_project`.
    """

    now: Instant
    address: Address | None = None
    scopes: Scopes = NO_SCOPES
    project: str | None = None
    unknown_project: bool = False
    resource: str | None = None
    about_itself: bool = False
    """The credential only asks who it is: nothing is touched, so no resource has to be named."""
    token: Token | None = None
    """What was presented, if it stands for a credential. The standing is then that of its origin."""
    audience: str | None = None
    """Whom a token must be meant for; None: whomever. A credential itself is meant for everybody."""
    tenant: str | None = None
    """Id of the only organization whose credentials the asker may know; None: any."""


class Verdict(NamedTuple):
    """Valid or not, and why. `standing` is there once the secret was proven; `scopes` are those on the target."""

    code: Code
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
"""Of what was not even looked up: too many look-ups from there have failed. `judge` itself does not count."""


class Check(NamedTuple):
    """One step of the judgement: `refuses` returns one of `codes`, or None to go on to the next check."""

    step: str
    codes: tuple[Code, ...]
    refuses: Callable[[Standing, Access], Code | None]


def _tenant(standing: Standing, access: Access) -> Code | None:
    tenant = access.tenant
    return None if tenant is None or standing.organization.id == tenant else "unknown"


def _status(standing: Standing, access: Access) -> Code | None:
    # The usual case in one look, on every request.
    if (
        standing.revoked_at is None
        and standing.deactivated_at is None
        and standing.ended_at is None
        and (standing.expires_at is None or standing.expires_at > access.now)
        and (standing.ends_at is None or standing.ends_at > access.now)
    ):
        return None
    status = standing.status(access.now)
    return None if status == "active" else status


def _principal(standing: Standing, _access: Access) -> Code | None:
    return "disabled" if standing.principal.barred else None


def _organization(standing: Standing, _access: Access) -> Code | None:
    return None if standing.organization.suspended_at is None else "disabled"


def _token(_standing: Standing, access: Access) -> Code | None:
    token = access.token
    if token is None:
        return None
    if token.revoked:
        return "revoked"
    return "expired" if token.expires_at <= access.now else None


def _address(standing: Standing, access: Access) -> Code | None:
    if not standing.networks or allowed(access.address, standing.networks):
        return None
    return "ip_not_allowed"


def _audience(_standing: Standing, access: Access) -> Code | None:
    token, audience = access.token, access.audience
    return None if token is None or audience is None or _is_meant_for(token, audience) else "wrong_audience"


def _project(standing: Standing, access: Access) -> Code | None:
    only, limited = standing.project_id, standing.principal.projects
    if only is None and not limited and not access.unknown_project:
        return None
    project = _target(standing, access)
    if access.unknown_project or (only is not None and project != only):
        return "project_not_allowed"
    if limited and project not in limited and not (project is None and access.about_itself):
        return "project_not_allowed"
    return None


def _scope(standing: Standing, access: Access) -> Code | None:
    missing = access.scopes and _missing(standing, access)
    return "insufficient_scope" if missing else None


def _resource(standing: Standing, access: Access) -> Code | None:
    if access.about_itself:
        return None
    for patterns in (standing.resources, standing.principal.resources):
        if patterns and not resource_matches(patterns, access.resource):
            return "resource_not_allowed"
    return None


CHECKS: Final = (
    Check("tenant of the asker", ("unknown",), _tenant),
    Check("status", ("revoked", "expired", "deactivated"), _status),
    Check("principal", ("disabled",), _principal),
    Check("organization", ("disabled",), _organization),
    Check("token", ("revoked", "expired"), _token),
    Check("address", ("ip_not_allowed",), _address),
    Check("audience", ("wrong_audience",), _audience),
    Check("project", ("project_not_allowed",), _project),
    Check("scope", ("insufficient_scope",), _scope),
    Check("resource", ("resource_not_allowed",), _resource),
)
"""What is checked of a proven credential. The first check that refuses gives the code.

The tenant comes first: what an organization may not know is `unknown` to it, whatever else is wrong with it.
"""
_REFUSES: Final = tuple(each.refuses for each in CHECKS)


def judge(standing: Standing, access: Access) -> Verdict:
    """Judge a credential whose secret, or whose token, was proven. Runs `CHECKS` in order."""
    for refuses in _REFUSES:
        code = refuses(standing, access)
        if code is not None:
            return _refusal(code, standing, access)
    project = _target(standing, access)
    return Verdict(
        "valid", standing, _held(standing, project, access.token), NO_SCOPES, project, access.token
    )


def _refusal(code: Code, standing: Standing, access: Access) -> Verdict:
    if code == "unknown":
        return UNKNOWN  # nothing is told of what the asker may not know
    missing = _missing(standing, access) if code == "insufficient_scope" else NO_SCOPES
    return Verdict(code, standing, missing=missing, token=access.token)


def _target(standing: Standing, access: Access) -> str | None:
    """The project that the credential is to be used on; None: the organization."""
    project = access.project or standing.project_id
    return access.token.project_id if project is None and access.token is not None else project


def _held(standing: Standing, project: str | None, token: Token | None) -> Scopes:
    """What it may do on the target: a token no more than it was granted."""
    scopes = standing.allowed(project)
    return scopes if token is None or token.scopes & EVERYTHING else scopes & token.scopes


def _missing(standing: Standing, access: Access) -> Scopes:
    """The scopes that are asked for and not held. `api` is held by what is limited to no scopes."""
    missing = access.scopes - _held(standing, _target(standing, access), access.token)
    whole = access.token is None or bool(access.token.scopes & EVERYTHING)
    return NO_SCOPES if whole and missing <= EVERYTHING and _unlimited(standing) else missing


def _unlimited(standing: Standing) -> bool:
    """Whether the credential may be asked for `api`: it lists nothing, or lists that."""
    return standing.access_level == "full" or bool(EVERYTHING & frozenset(standing.scopes))


def _is_meant_for(token: Token, audience: str) -> bool:
    """Return whether the audience is among the token's, in any spelling."""
    # Nearly every question names an audience as the token has it.
    return audience in token.audiences or comparable(audience) in map(comparable, token.audiences)
