"""`judge(standing, access) -> Verdict`: the only place that decides whether a credential is valid.

It runs on every request over cached facts. Verdicts are never cached. It counts nothing: callers charge rate limits
and record usage afterwards.
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

    digest: bytes
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


class Verdict(NamedTuple):
    """The result and its reason. `standing` is set once the secret was proven; `scopes` are the scopes on the target."""

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
"""For a request that was not looked up, because too many look-ups from its address failed. `judge` does not return it."""


def judge(standing: Standing | None, access: Access) -> Verdict:
    """Judge one credential by its facts. The first check that fails decides the code."""
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
    scopes, all_of_origin = standing.allowed(project), True
    if token is not None and not token.scopes & EVERYTHING:
        scopes, all_of_origin = scopes & token.scopes, False
    missing = access.scopes - scopes if access.scopes else NO_SCOPES
    if missing and not (all_of_origin and missing <= EVERYTHING and _covers_everything(standing)):
        return Verdict("insufficient_scope", standing, missing=missing, token=token)
    if not access.about_itself:
        for patterns in (standing.resources, standing.principal.resources):
            if patterns and not resource_matches(patterns, access.resource):
                return Verdict("resource_not_allowed", standing, token=token)
    return Verdict("valid", standing, scopes, NO_SCOPES, project, token)


def _covers_everything(standing: Standing) -> bool:
    """Return whether the credential may be asked for `api`: it lists no scopes, or lists `api`."""
    return standing.access_level == "full" or bool(EVERYTHING & frozenset(standing.scopes))


def _is_meant_for(token: Token, audience: str) -> bool:
    """Return whether the audience is among the token's, in any equivalent spelling."""
    # Nearly always the spelling is the same, and the fast comparison is enough.
    return audience in token.audiences or comparable(audience) in map(comparable, token.audiences)
