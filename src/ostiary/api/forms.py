"""What the forms of several nouns share: names, times, scopes, limits; and role bindings."""

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
"""A time in a query, which `instant` reads."""


def instant(pointer: str, text: str | None, errors: list[FieldError]) -> Instant | None:
    """The time that a query names; what is wrong with it joins the errors."""
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


# The validators check; what JSON Schema can say of their rules stands beside them, for the OpenAPI document.
DisplayName = Annotated[
    str,
    AfterValidator(check.display_name),
    Field(
        description="What people read. White space around it is removed.",
        json_schema_extra={"minLength": 1, "maxLength": check.MAX_DISPLAY_NAME, "pattern": r"\S"},
    ),
]
Description = Annotated[
    str,
    AfterValidator(check.description),
    Field(
        description="For people. Line breaks are welcome.", json_schema_extra={"maxLength": check.MAX_TEXT}
    ),
]
Username = Annotated[
    str,
    AfterValidator(check.username),
    Field(
        description="Lower-case letters, digits and hyphens, no hyphen first. It is fixed, and never given out again.",
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
        description="From then on it is refused: RFC 3339 with a zone, in the future. Without it, what the policy says.",
        json_schema_extra={"format": "date-time"},
    ),
]
Networks = Annotated[
    list[str],
    AfterValidator(_networks),
    Field(
        description="Addresses and networks (CIDR) from which it may be used. Empty: from anywhere.",
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
        description="How often it may be used a minute. Null: as often as the policy says, which none may exceed.",
    ),
]
Level = Annotated[
    AccessLevel,
    Field(description="`full`: all that the roles give; `fine_grained`: of that, what `scopes` lists."),
]
Scopes = Annotated[
    Names, Field(description="What of the roles' scopes it may use. Listing some makes it `fine_grained`.")
]
Resources = Annotated[
    Names,
    Field(
        description="Resources that it may be used for: exact, as `agents/agent_123`, or all below, as `agents/*`. "
        "Empty: any."
    ),
]


Projects = Annotated[
    Names,
    Field(
        description="The only projects that it may be used for, by id or code. Empty: any, and the organization itself."
    ),
]


class RoleBody(StrictModel):
    """A role, and where it is held."""

    role: Annotated[Name64, Field(description="The name of a role of the organization.")]
    on: Annotated[
        Name64 | None,
        Field(description="The organization's id, or a project's. Without it the organization."),
    ] = None


class RoleBindingsBody(StrictModel):
    """Every role that is to be held; they replace those that are."""

    model_config = example({"bindings": [{"role": "viewer"}]})

    bindings: Annotated[list[RoleBody], Field(max_length=MAX_ROLES)]

    def specs(self) -> tuple[RoleSpec, ...]:
        return tuple(RoleSpec(each.role, each.on) for each in self.bindings)


def sent(body: StrictModel) -> dict[str, Any]:
    """The members that a body of changes has."""
    members = body.model_dump(include=body.model_fields_set)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in members.items()}


# Answers


class RoleBindingJson(TypedDict):
    """A role, and where it is held."""

    role: str
    on: str
    """An organization's id, or a project's."""


class RoleBindingsJson(TypedDict):
    """Every role that is held."""

    bindings: list[RoleBindingJson]


def bindings_json(bindings: tuple[RoleBinding, ...], organization_id: str) -> list[RoleBindingJson]:
    return [{"role": each.role, "on": each.project_id or organization_id} for each in bindings]
