"""What is asked about a credential: by the body of `/v1/verify`, or by an access rule about a forwarded request."""

from typing import Final, NamedTuple

from ostiary.core.access_rule import AccessRule, AmbiguousPathError, read_path
from ostiary.core.address import Address, parse_address
from ostiary.core.model import Standing
from ostiary.core.permission import Scopes
from ostiary.core.problem import FieldError, Problem, invalid_fields
from ostiary.core.verdict import NO_SCOPES
from ostiary.http import messages
from ostiary.http.messages import Headers

VERIFY_FIELDS: Final = frozenset({"credential", "ip", "scopes", "project", "resource", "audience", "count"})
MAX_SCOPES: Final = 100


class Question(NamedTuple):
    """What is asked about a credential, before names are resolved."""

    address: Address | None
    scopes: Scopes = NO_SCOPES
    project: str | None = None
    resource: str | None = None
    about_itself: bool = False


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
    errors = [
        FieldError(f"/{messages.escape(name)}", "unknown-member", "is not a member of this request")
        for name in value
        if name not in VERIFY_FIELDS
    ]

    def text(name: str, required: bool = False) -> str | None:
        given = value.get(name)
        if given is None and not required:
            return None
        if not isinstance(given, str):
            code = "missing" if name not in value else "wrong-type"
            errors.append(FieldError(f"/{name}", code, "must be a string"))
            return None
        return given

    credential = text("credential", required=True)
    ip, project, resource = text("ip"), text("project"), text("resource")
    text("audience")
    address = None
    if ip is not None:
        try:
            address = parse_address(ip)
        except ValueError as error:
            errors.append(FieldError("/ip", "invalid", str(error)))
    scopes = [] if value.get("scopes") is None else value["scopes"]
    if (
        not isinstance(scopes, list)
        or len(scopes) > MAX_SCOPES
        or not all(isinstance(s, str) for s in scopes)
    ):
        errors.append(FieldError("/scopes", "wrong-type", f"must be a list of at most {MAX_SCOPES} strings"))
        scopes = []
    count = True if value.get("count") is None else value["count"]
    if not isinstance(count, bool):
        errors.append(FieldError("/count", "wrong-type", "must be true or false"))
    if errors or credential is None:
        raise invalid_fields(tuple(errors))
    return Asked(
        credential.encode(),
        Question(address, frozenset(scopes), project, resource),
        None if address is None else str(address),
        bool(count),
    )


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
    return Question(address, match.scopes, rule.project, match.resource_of(path)), ""


def not_for(rule: AccessRule, standing: Standing) -> str:
    """Why a good credential is not admitted by the rule; empty if it is."""
    if rule.kinds and standing.kind not in rule.kinds:
        return "kind_not_allowed"
    if rule.organizations and standing.organization.id not in rule.organizations:
        return "organization_not_allowed"
    return ""
