"""`judge(standing, access) -> Verdict`: the one place that says a credential is good.

It runs on every request over cached facts and is never cached itself. It does not count: rate limits and
usage are the caller's business, after it.
"""

from typing import Final, Literal, NamedTuple

from ostiary.core.address import Address, allowed
from ostiary.core.instant import Instant
from ostiary.core.model import Standing, Token
from ostiary.core.permission import EVERYTHING, Scopes, resource_matches
from ostiary.core.secret import matches
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
    """What is asked: by whose proof, when, from where, for what. A tuple, for one is made for every request.

    `digest` is that of the presented secret under the standing's pepper. A token was proven before: the standing is
    then its origin's, and no digest is compared. `project` is an id of the credential's organization; a name that is
    no project there is `unknown_project`.
    """

    digest: bytes
    now: Instant
    address: Address | None = None
    scopes: Scopes = NO_SCOPES
    project: str | None = None
    unknown_project: bool = False
    resource: str | None = None
    about_itself: bool = False
    """The credential only asks who it is: nothing is touched, so no resource has to be named."""
    token: Token | None = None
    """What was presented, if it stands for a credential."""
    audience: str | None = None
    """Whom a token must be meant for; None: whomever. A credential itself is meant for everybody."""


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


def judge(standing: Standing | None, access: Access) -> Verdict:
    """Judge one credential by its facts. The order of checks is the order of the answers' precedence."""
    token = access.token
    if standing is None or (token is None and not matches(standing.digest, access.digest)):
        return UNKNOWN
    status = standing.status(access.now)
    if status != "active":
        return Verdict(status, standing, token=token)
    if standing.principal.barred or standing.organization.suspended_at is not None:
        return Verdict("disabled", standing, token=token)
    if token is not None and token.revoked:
        return Verdict("revoked", standing, token=token)
    if token is not None and token.expires_at <= access.now:
        return Verdict("expired", standing, token=token)
    if standing.networks and not allowed(access.address, standing.networks):
        return Verdict("ip_not_allowed", standing, token=token)
    if token is not None and access.audience is not None and not _is_meant_for(token, access.audience):
        return Verdict("wrong_audience", standing, token=token)
    project = access.project or standing.project_id
    if project is None and token is not None:
        project = token.project_id
    if access.unknown_project or (standing.project_id is not None and project != standing.project_id):
        return Verdict("project_not_allowed", standing, token=token)
    limited = standing.principal.projects
    if limited and project not in limited and not (project is None and access.about_itself):
        return Verdict("project_not_allowed", standing, token=token)
    scopes, whole = standing.allowed(project), True
    if token is not None and not token.scopes & EVERYTHING:
        scopes, whole = scopes & token.scopes, False
    missing = access.scopes - scopes if access.scopes else NO_SCOPES
    if missing and not (whole and missing <= EVERYTHING and _unlimited(standing)):
        return Verdict("insufficient_scope", standing, missing=missing, token=token)
    if not access.about_itself:
        for patterns in (standing.resources, standing.principal.resources):
            if patterns and not resource_matches(patterns, access.resource):
                return Verdict("resource_not_allowed", standing, token=token)
    return Verdict("valid", standing, scopes, NO_SCOPES, project, token)


def _unlimited(standing: Standing) -> bool:
    """Whether the credential may be asked for `api`: it lists nothing, or lists that."""
    return standing.access_level == "full" or bool(EVERYTHING & frozenset(standing.scopes))


def _is_meant_for(token: Token, audience: str) -> bool:
    """Return whether the audience is among the token's, in any spelling."""
    # Nearly every question names an audience as the token has it.
    return audience in token.audiences or comparable(audience) in map(comparable, token.audiences)
