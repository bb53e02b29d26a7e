"""The request that a credential is judged for: the credential's own request, a resource server's, or one that
an access rule describes.
"""

from typing import Final, NamedTuple

from ostiary.core.access_rule import AccessRule, AmbiguousPathError, read_path
from ostiary.core.address import Address
from ostiary.core.model import Standing, Token
from ostiary.core.permission import Scopes
from ostiary.core.verdict import NO_SCOPES


class AccessRequest(NamedTuple):
    """What one request requires of a credential. Names of projects and scopes are not resolved yet."""

    address: Address | None
    scopes: Scopes = NO_SCOPES
    project: str | None = None
    resource: str | None = None
    about_itself: bool = False
    audience: str | None = None
    """The audience that a token must have. None stands for this service."""
    whomever: bool = False
    """Whether a token with any audience is accepted. The requesting party then checks the audience."""
    tenant: str | None = None
    """Id of the only organization whose credentials the requesting party may learn about. None: any."""


RULE_REFUSALS: Final = (
    "no_such_rule",
    "invalid_request",
    "ambiguous_path",
    "no_match",
    "kind_not_allowed",
    "organization_not_allowed",
)
"""The codes with which an access rule refuses a good credential. `of_rule` and `not_for` return them, in this
order.
"""


def of_rule(
    rule: AccessRule, described: tuple[bytes, bytes], address: Address | None
) -> tuple[AccessRequest, str]:
    """Return the access request that the rule makes of the described request, and the refusal code, empty if
    none.
    """
    method, target = described
    try:
        path = read_path(target.decode("latin-1"))
    except AmbiguousPathError:
        return AccessRequest(address), "ambiguous_path"
    except ValueError:
        return AccessRequest(address), "invalid_request"
    match = rule.match(method.decode("latin-1"), path)
    if match is None:
        return AccessRequest(address), "no_match"
    resource = match.resource_of(path)
    return AccessRequest(address, match.scopes, rule.project, resource, audience=rule.audience), ""


def is_preflight(rule: AccessRule, described: tuple[bytes, bytes]) -> bool:
    """Return whether the rule lets the described request pass without a credential."""
    method, target = described
    try:
        return rule.admits_preflight(method.decode("latin-1"), read_path(target.decode("latin-1")))
    except ValueError:
        return False  # an ambiguous path is refused too


def not_for(rule: AccessRule, standing: Standing, token: Token | None) -> str:
    """Return the code with which the rule refuses a good credential; empty if it admits the credential."""
    if rule.kinds and (standing.kind if token is None else token.kind) not in rule.kinds:
        return "kind_not_allowed"
    if rule.organizations and standing.organization.id not in rule.organizations:
        return "organization_not_allowed"
    return ""
