"""What is asked about a presented credential: by its own request, by a resource server, or by an access rule."""

from typing import Final, NamedTuple

from ostiary.core.access_rule import AccessRule, AmbiguousPathError, read_path
from ostiary.core.address import Address
from ostiary.core.model import Standing, Token
from ostiary.core.permission import Scopes
from ostiary.core.verdict import NO_SCOPES


class AccessRequest(NamedTuple):
    """What is asked about a credential, before names are resolved."""

    address: Address | None
    scopes: Scopes = NO_SCOPES
    project: str | None = None
    resource: str | None = None
    about_itself: bool = False
    audience: str | None = None
    """Whom a token must be meant for; None: this service, for whoever names nobody else."""
    whomever: bool = False
    """Whether a token may be meant for anybody: who asks judges that."""
    tenant: str | None = None
    """Id of the only organization whose credentials the asker may know; None: any."""


RULE_REFUSALS: Final = (
    "no_such_rule",
    "invalid_request",
    "ambiguous_path",
    "no_match",
    "kind_not_allowed",
    "organization_not_allowed",
)
"""Why an access rule refuses a request with a good credential. `of_rule` and `not_for` return them, in this order."""


def of_rule(
    rule: AccessRule, described: tuple[bytes, bytes], address: Address | None
) -> tuple[AccessRequest, str]:
    """What the rule asks about the described request; or the name of why it refuses."""
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
    """Whether the rule lets the described request pass without a credential."""
    method, target = described
    try:
        return rule.admits_preflight(method.decode("latin-1"), read_path(target.decode("latin-1")))
    except ValueError:
        return False  # an ambiguous path as well


def not_for(rule: AccessRule, standing: Standing, token: Token | None) -> str:
    """Why a good credential is not admitted by the rule; empty if it is."""
    if rule.kinds and (standing.kind if token is None else token.kind) not in rule.kinds:
        return "kind_not_allowed"
    if rule.organizations and standing.organization.id not in rule.organizations:
        return "organization_not_allowed"
    return ""
