"""What is asked about a credential: by the body of `/v1/verify`, or by an access rule about a forwarded request."""

from typing import Any, Final, NamedTuple

from ostiary.core.access_rule import AccessRule, AmbiguousPathError, read_path
from ostiary.core.address import Address, parse_address
from ostiary.core.model import Standing, Token
from ostiary.core.permission import Scopes
from ostiary.core.problem import FieldError, Problem, invalid_fields
from ostiary.core.verdict import NO_SCOPES
from ostiary.http import messages
from ostiary.http.messages import Headers

TEXTS: Final = ("credential", "ip", "project", "resource", "audience")
VERIFY_FIELDS: Final = frozenset({*TEXTS, "scopes", "count"})
MAX_SCOPES: Final = 100


class Question(NamedTuple):
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


class Asked(NamedTuple):
    credential: bytes
    question: Question
    address_text: str | None
    counted: bool


def read_question(headers: Headers, body: bytes) -> Asked:
    """Parse and check the body of `/v1/verify`, all field errors at once."""
    if not messages.is_json(headers):
        raise Problem("unsupported-media-type", "Send the body as application/json.")
    value = messages.strict_json(body)
    if not isinstance(value, dict):
        raise invalid_fields((FieldError("", "wrong-type", "must be an object"),))
    credential, ip, scopes = value.get("credential"), value.get("ip"), value.get("scopes")
    errors = () if _of_form(value) else _errors(value)
    address = None
    if isinstance(ip, str):
        try:
            address = parse_address(ip)
        except ValueError as error:
            errors = (*errors, FieldError("/ip", "invalid", str(error)))
    if errors or credential is None:
        raise invalid_fields(errors)
    return Asked(
        credential.encode(),
        Question(
            address,
            frozenset(scopes) if scopes else NO_SCOPES,
            value.get("project"),
            value.get("resource"),
            audience=value.get("audience"),
        ),
        None if address is None else str(address),
        value.get("count") is not False,
    )


def _of_form(value: dict[str, Any]) -> bool:
    """Whether `_errors` has nothing to say, in the time that every request has."""
    for name, given in value.items():
        if name in TEXTS:
            if type(given) is not str and (given is not None or name == "credential"):
                return False
        elif name == "scopes":
            if given is not None and not _are_scopes(given):
                return False
        elif name != "count" or not (given is None or type(given) is bool):
            return False
    return "credential" in value


def _are_scopes(given: object) -> bool:
    return isinstance(given, list) and len(given) <= MAX_SCOPES and all(type(each) is str for each in given)


def _errors(value: dict[str, Any]) -> tuple[FieldError, ...]:
    """What is wrong with the members of the body, but for whether `ip` is an address."""
    errors = [
        FieldError(f"/{messages.escape(name)}", "unknown-member", "is not a member of this request")
        for name in value
        if name not in VERIFY_FIELDS
    ]
    for name in TEXTS:
        given = value.get(name)
        if not isinstance(given, str) and (given is not None or name == "credential"):
            code = "missing" if name not in value else "wrong-type"
            errors.append(FieldError(f"/{name}", code, "must be a string"))
    if value.get("scopes") is not None and not _are_scopes(value["scopes"]):
        errors.append(FieldError("/scopes", "wrong-type", f"must be a list of at most {MAX_SCOPES} strings"))
    if value.get("count") is not None and not isinstance(value["count"], bool):
        errors.append(FieldError("/count", "wrong-type", "must be true or false"))
    return tuple(errors)


def of_rule(
    rule: AccessRule, described: tuple[bytes, bytes], address: Address | None
) -> tuple[Question, str]:
    """What the rule asks about the described request; or the name of why it refuses."""
    method, target = described
    try:
        path = read_path(target.decode("latin-1"))
    except AmbiguousPathError:
        return Question(address), "ambiguous_path"
    except ValueError:
        return Question(address), "invalid_request"
    match = rule.match(method.decode("latin-1"), path)
    if match is None:
        return Question(address), "no_match"
    resource = match.resource_of(path)
    return Question(address, match.scopes, rule.project, resource, audience=rule.audience), ""


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
