"""What the forms of several nouns share: names, times, scopes, limits and role bindings."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from ostiary.api.route import StrictModel, example
from ostiary.core import check
from ostiary.core.address import MAX_ENTRIES, parse_network
from ostiary.core.instant import Instant, duration_from_text, from_text
from ostiary.core.model import (
    AccessLevel,
    RoleBinding,
)
from ostiary.core.problem import FieldError
from ostiary.core.rate import MAX_RATE
from ostiary.services.roles import MAX_ROLES, RoleSpec

MAX_NAMES = 100
DURATION = "^[0-9]{1,7}(s|m|h|d)?$"

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC with milliseconds."""
INSTANT = WithJsonSchema({"type": "string", "format": "date-time"})
"""A time in a query, which `instant` parses."""


def instant(pointer: str, text: str | None, errors: list[FieldError]) -> Instant | None:
    """Parse the time in a query parameter. A parse error is appended to `errors`."""
    try:
        return None if text is None else from_text(text)
    except ValueError as error:
        errors.append(FieldError(pointer, "invalid", str(error)))
        return None


def _expiry(text: str | None) -> str | None:
    if text is not None:
        from_text(text)
    return text


def _duration(text: str) -> str:
    duration_from_text(text)
    return text


def _networks(entries: list[str]) -> list[str]:
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"must have at most {MAX_ENTRIES} entries")
    networks = []
    for number, entry in enumerate(entries):
        try:
            networks.append(str(parse_network(entry)))
        except ValueError as error:
            raise ValueError(f"entry {number + 1} {error}") from None
    return list(dict.fromkeys(networks))


def _unique(names: list[str]) -> list[str]:
    if len(names) > MAX_NAMES:
        raise ValueError(f"must have at most {MAX_NAMES} entries")
    if any(len(name) > 256 for name in names):
        raise ValueError("has an entry longer than 256 characters")
    return list(dict.fromkeys(names))


# The validators enforce the rules. The JSON Schema next to them describes the rules in the OpenAPI document.
DisplayName = Annotated[
    str,
    AfterValidator(check.display_name),
    Field(
        description="A name for people. White space around it is removed.",
        json_schema_extra={"minLength": 1, "maxLength": check.MAX_DISPLAY_NAME, "pattern": r"\S"},
    ),
]
Description = Annotated[
    str,
    AfterValidator(check.description),
    Field(
        description="A description for people. It can contain line breaks.",
        json_schema_extra={"maxLength": check.MAX_TEXT},
    ),
]
Username = Annotated[
    str,
    AfterValidator(check.username),
    Field(
        description="Lower-case letters, digits and hyphens; it cannot start with a hyphen. It "
        "cannot be changed, and is never reused.",
        json_schema_extra={"pattern": check.SLUG},
    ),
]
Email = Annotated[
    str,
    AfterValidator(check.email),
    Field(json_schema_extra={"format": "email", "maxLength": check.MAX_EMAIL}),
]
Expiry = Annotated[
    str,
    AfterValidator(_expiry),
    Field(
        description="When the credential expires: RFC 3339 with a zone, in the future. If "
        "omitted, the policy decides.",
        json_schema_extra={"format": "date-time"},
    ),
]
Networks = Annotated[
    list[str],
    AfterValidator(_networks),
    Field(
        description="Addresses and networks (CIDR) from which the credential can be used. "
        "Empty: from anywhere.",
        json_schema_extra={"maxItems": MAX_ENTRIES},
    ),
]
Names = Annotated[
    list[str],
    AfterValidator(_unique),
    Field(json_schema_extra={"maxItems": MAX_NAMES, "items": {"type": "string", "maxLength": 256}}),
]
Duration = Annotated[str, AfterValidator(_duration), Field(json_schema_extra={"pattern": DURATION})]
Name64 = Annotated[str, Field(min_length=1, max_length=64)]
RateLimit = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_RATE,
        description="The maximum number of uses per minute. Null: the policy's limit applies. "
        "It cannot exceed that limit.",
    ),
]
Level = Annotated[
    AccessLevel,
    Field(
        description="`full`: everything that the roles grant. `fine_grained`: only the scopes in `scopes`."
    ),
]
Scopes = Annotated[
    Names,
    Field(
        description="The scopes that can be used, out of those that the roles grant. "
        "Any entry makes it `fine_grained`."
    ),
]
Resources = Annotated[
    Names,
    Field(
        description="Resources for which it can be used: exact (`agents/agent_123`), or "
        "everything below a path (`agents/*`). Empty: any."
    ),
]


Projects = Annotated[
    Names,
    Field(
        description="Projects for which it can be used, by id or code. Empty: any project, and "
        "the organization itself."
    ),
]


class RoleBody(StrictModel):
    """A role, and the organization or project on which it is held."""

    role: Annotated[Name64, Field(description="The name of a role of the organization.")]
    on: Annotated[
        Name64 | None,
        Field(description="The id of the organization or of a project. If omitted, the organization."),
    ] = None


class RoleBindingsBody(StrictModel):
    """All roles to hold. They replace the current roles."""

    model_config = example({"bindings": [{"role": "viewer"}]})

    bindings: Annotated[list[RoleBody], Field(max_length=MAX_ROLES)]

    def specs(self) -> tuple[RoleSpec, ...]:
        return tuple(RoleSpec(each.role, each.on) for each in self.bindings)


def sent(body: StrictModel) -> dict[str, Any]:
    """Return the fields that a request to change something contains."""
    members = body.model_dump(include=body.model_fields_set)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in members.items()}


# Responses


class RoleBindingJson(TypedDict):
    """A role, and the organization or project on which it is held."""

    role: str
    on: str
    """The id of an organization or of a project."""


class RoleBindingsJson(TypedDict):
    """All roles that are held."""

    bindings: list[RoleBindingJson]


def bindings_json(bindings: tuple[RoleBinding, ...], organization_id: str) -> list[RoleBindingJson]:
    return [{"role": each.role, "on": each.project_id or organization_id} for each in bindings]
