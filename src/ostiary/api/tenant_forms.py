"""Request and response bodies for organizations and their projects, members, roles and policies."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BeforeValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from ostiary.api.forms import (
    DURATION,
    Description,
    DisplayName,
    Email,
    Name64,
    Names,
    RoleBindingJson,
    RoleBody,
    Time,
    Username,
    bindings_json,
)
from ostiary.api.route import StrictModel, example
from ostiary.core.instant import duration_from_text, duration_to_text, text_or_none, to_text
from ostiary.core.model import Invitation, Organization, Project, Role, RoleBinding
from ostiary.core.permission import MAX_LIFETIME, POLICIES, SESSION_LIFETIMES, Policy
from ostiary.core.rate import MAX_RATE, rate_of
from ostiary.http.links import invitation_link, reset_link
from ostiary.services.members import MemberView, NewInvitation
from ostiary.services.organizations import PolicyView
from ostiary.services.password_resets import NewResetLink
from ostiary.services.projects import ProjectBinding
from ostiary.services.roles import MAX_ROLES, RoleSpec

NUMBERS = (
    "max_credentials_per_service_account",
    "max_credentials_per_organization",
    "max_service_accounts",
    "rate_limit",
)
MAX_NUMBER = 10_000_000


def _number(value: Any) -> Any:
    if value is None or value == "none" or (type(value) is int and 0 <= value <= MAX_NUMBER):
        return value
    raise ValueError(f"must be a whole number from 0 to {MAX_NUMBER}, or none")


def _rate(value: Any) -> Any:
    if value is not None and value != "none":
        rate_of(value if type(value) is int else 0)
    return value


def _length(value: Any) -> Any:
    if value is None or value == "none":
        return value
    if not isinstance(value, str):
        raise ValueError("must be a length of time such as 90d, or none")
    if duration_from_text(value) > MAX_LIFETIME:
        raise ValueError(f"must not be longer than {duration_to_text(MAX_LIFETIME)}")
    return value


def _delay(value: Any) -> Any:
    if value == "none":
        raise ValueError("must be a length of time such as 24h; 0s deletes in one step")
    return _length(value)


def _session(value: Any) -> Any:
    shortest, longest = SESSION_LIFETIMES
    within = f"from {duration_to_text(shortest)} to {duration_to_text(longest)}"
    if value is None:
        return value
    if not isinstance(value, str) or value == "none":
        raise ValueError(f"must be a length of time {within}")
    if not shortest <= duration_from_text(value) <= longest:
        raise ValueError(f"must be {within}")
    return value


_NONE: Any = {"const": "none", "description": "No limit."}
_NULL: Any = {"type": "null", "description": "Back to the installation's default."}
_DURATION: Any = {"type": "string", "pattern": DURATION}
Number = Annotated[
    int | str | None,
    BeforeValidator(_number),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_NUMBER}, _NONE, _NULL]}),
]
Uses = Annotated[
    int | str | None,
    BeforeValidator(_rate),
    Field(description="Uses of a credential per minute."),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_RATE}, _NONE, _NULL]}),
]
Length = Annotated[str | None, BeforeValidator(_length), WithJsonSchema({"anyOf": [_DURATION, _NONE, _NULL]})]
Delay = Annotated[str | None, BeforeValidator(_delay), WithJsonSchema({"anyOf": [_DURATION, _NULL]})]
SessionLength = Annotated[
    str | None,
    BeforeValidator(_session),
    Field(description="The lifetime of a session that starts with a key file: 5m to 365d."),
    WithJsonSchema({"anyOf": [_DURATION, _NULL]}),
]


class OrganizationBody(StrictModel):
    """The organization to create."""

    model_config = example({"name": "Umbrella", "slug": "umbrella-corp"})

    name: DisplayName
    slug: Username


class OrganizationChanges(StrictModel):
    """Fields that are sent change. The others keep their values."""

    model_config = example({"name": "Acme Incorporated"})

    name: DisplayName | None = None
    suspended: Annotated[
        bool | None,
        Field(
            description="Only for operator admins. All credentials of a suspended organization are refused."
        ),
    ] = None


class CeilingsBody(StrictModel):
    """Limits by name: a value, `none` for no limit, or null for the installation's default."""

    max_credentials_per_service_account: Number = None
    max_credentials_per_organization: Number = None
    max_service_accounts: Number = None
    default_credential_lifetime: Length = None
    max_credential_lifetime: Length = None
    rate_limit: Uses = None
    session_lifetime: SessionLength = None

    def chosen(self) -> dict[str, Any]:
        """Return the chosen values, in the units of `Policy`. Limits that return to the default are left out."""
        return {
            name: _units(name, value)
            for name in POLICIES
            if name in self.model_fields_set and (value := getattr(self, name)) is not None
        }

    def reset(self) -> frozenset[str]:
        return frozenset(
            name for name in POLICIES if name in self.model_fields_set and getattr(self, name) is None
        )


class PoliciesBody(CeilingsBody):
    """Limits that are sent change. The others keep their values."""

    model_config = example(
        {
            "default_credential_lifetime": "90d",
            "max_credentials_per_service_account": 5,
            "deletion_delay": None,
        }
    )

    deletion_delay: Delay = None
    ceilings: Annotated[
        CeilingsBody | None,
        Field(description="Only for operator admins: the highest value that the organization can choose."),
    ] = None


def _units(name: str, value: Any) -> Any:
    if value == "none":
        return None
    return value if name in NUMBERS else duration_from_text(value)


class ProjectBody(StrictModel):
    """The project to create."""

    model_config = example({"name": "Website", "code": "website", "description": "What customers see"})

    name: DisplayName
    code: Annotated[Username | None, Field(description="If omitted, it is derived from the name.")] = None
    description: Description = ""


class ProjectChanges(StrictModel):
    """Fields that are sent change. The others keep their values."""

    model_config = example({"name": "Public website"})

    name: DisplayName = ""
    description: Description = ""

    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


class ProjectBindingBody(StrictModel):
    """A member or service account, and its role on the project."""

    principal: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            description="A member's id, or the id, client id or channel identifier of a service account.",
        ),
    ]
    role: Annotated[Name64, Field(description="The name of a role of the organization.")]


class ProjectBindingsBody(StrictModel):
    """All role bindings of the project. They replace the current ones."""

    model_config = example({"bindings": [{"principal": "$account", "role": "viewer"}]})

    bindings: Annotated[list[ProjectBindingBody], Field(max_length=1000)]

    def asked(self) -> tuple[ProjectBinding, ...]:
        return tuple(ProjectBinding(each.principal, each.role) for each in self.bindings)


class RolesBody(StrictModel):
    """All roles to hold. They replace the current roles."""

    model_config = example({"roles": [{"role": "developer"}]})

    roles: Annotated[list[RoleBody], Field(max_length=MAX_ROLES)]

    def specs(self) -> tuple[RoleSpec, ...]:
        return tuple(RoleSpec(each.role, each.on) for each in self.roles)


class InvitationBody(RolesBody):
    """The person to invite, and the roles that the person gets on acceptance."""

    model_config = example({"email": "dana@acme.example", "roles": [{"role": "viewer"}]})

    email: Email


class RoleForm(StrictModel):
    """The role to create."""

    model_config = example(
        {"name": "agent-reader", "description": "Looks at agents", "scopes": ["read:agents"]}
    )

    name: Username
    description: Description = ""
    scopes: Annotated[
        Names, Field(description="The scopes that the role grants, from the catalogue or from this API.")
    ]


class RoleChanges(StrictModel):
    """Fields that are sent change. The others keep their values."""

    model_config = example({"scopes": ["read:agents", "read:plugins"]})

    description: Description = ""
    scopes: Names = []

    def changes(self) -> dict[str, Any]:
        sent = self.model_dump(include=self.model_fields_set)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in sent.items()}


class ScopeBody(StrictModel):
    """A scope to add to the catalogue."""

    model_config = example({"scope": "read:invoices"})

    scope: Annotated[
        str,
        Field(
            max_length=96,
            description="`verb:noun`. The nouns of this API are reserved.",
            json_schema_extra={"pattern": "^[a-z]{1,32}:[a-z][a-z0-9-]{0,62}$"},
        ),
    ]


# Responses


class OrganizationJson(TypedDict):
    """An organization is a tenant. It has its own members, accounts, credentials and audit log."""

    id: str
    slug: str
    name: str
    operator: bool
    """Whether this organization runs the installation."""
    status: Literal["active", "suspended"]
    created_at: Time


class LimitJson(TypedDict):
    """One limit: a number or a duration. Null means no limit."""

    value: int | str | None
    """The value in effect."""
    default: int | str | None
    """The installation's default."""
    ceiling: int | str | None
    """The highest value that the organization can choose."""
    own: bool
    """Whether the value was chosen for this organization."""
    count: NotRequired[int]
    """The current number, for a limit on the number of objects."""


class PoliciesJson(TypedDict):
    """An organization's limits by name."""

    limits: dict[str, LimitJson]


class ProjectJson(TypedDict):
    """A part of an organization to which access can be given. Paths accept its `id` or its `code`."""

    id: str
    code: str
    name: str
    description: str
    organization: str
    created_at: Time


class ProjectBindingJson(TypedDict):
    """A member or service account, and its role on the project."""

    principal: str
    role: str


class ProjectBindingsJson(TypedDict):
    """All role bindings of the project."""

    bindings: list[ProjectBindingJson]


class MemberJson(TypedDict):
    """A user in an organization."""

    id: str
    email: str
    status: Literal["active", "disabled"]
    roles: list[RoleBindingJson]
    joined_at: Time


class InvitationJson(TypedDict):
    """An invitation to become a member, without its token."""

    id: str
    email: str
    roles: list[RoleBindingJson]
    created_at: Time
    expires_at: Time
    accepted_at: Time | None


class InvitedJson(TypedDict):
    """A new invitation, in the only response that contains its token."""

    invitation: InvitationJson
    secret: str | None
    """The token. Null if the request repeats an earlier one with the same `Idempotency-Key`. `link` is then
    null too.
    """
    link: str | None
    """The page on which the person accepts the invitation. The link contains the token: give it only to the
    invited person.
    """


class ResetJson(TypedDict):
    """A new link, which no other response contains."""

    link: str | None
    """The page for choosing a new password. It works once. Null if the request repeats an earlier one with
    the same `Idempotency-Key`.
    """
    expires_at: Time


class RoleJson(TypedDict):
    """A role: a named set of scopes."""

    id: str | None
    """Null for a built-in role."""
    name: str
    description: str
    scopes: list[str]
    built_in: bool


class ScopeJson(TypedDict):
    """A scope of the catalogue."""

    scope: str


def organization_json(organization: Organization) -> OrganizationJson:
    return {
        "id": organization.id,
        "slug": organization.slug,
        "name": organization.name,
        "operator": organization.operator,
        "status": "active" if organization.suspended_at is None else "suspended",
        "created_at": to_text(organization.created_at),
    }


def policies_json(view: PolicyView) -> PoliciesJson:
    def told(policy: Policy, name: str) -> Any:
        value = getattr(policy, name)
        return value if value is None or name in NUMBERS else duration_to_text(value)

    counts = {
        "max_credentials_per_organization": view.credentials,
        "max_service_accounts": view.service_accounts,
    }
    limits: dict[str, LimitJson] = {}
    for name in POLICIES:
        limits[name] = {
            "value": told(view.policy, name),
            "default": told(view.default, name),
            "ceiling": told(view.ceiling, name),
            "own": name in view.own,
        }
        if name in counts:
            limits[name]["count"] = counts[name]
    return {"limits": limits}


def project_json(project: Project) -> ProjectJson:
    return {
        "id": project.id,
        "code": project.code,
        "name": project.name,
        "description": project.description,
        "organization": project.organization_id,
        "created_at": to_text(project.created_at),
    }


def project_bindings_json(bindings: list[tuple[str, RoleBinding]]) -> ProjectBindingsJson:
    return {"bindings": [{"principal": who, "role": binding.role} for who, binding in bindings]}


def member_json(view: MemberView, organization_id: str) -> MemberJson:
    return {
        "id": view.member.id,
        "email": view.member.email,
        "status": "active" if view.member.disabled_at is None else "disabled",
        "roles": bindings_json(view.bindings, organization_id),
        "joined_at": to_text(view.member.joined_at),
    }


def invitation_json(invitation: Invitation) -> InvitationJson:
    return {
        "id": invitation.id,
        "email": invitation.email,
        "roles": bindings_json(invitation.roles, invitation.organization_id),
        "created_at": to_text(invitation.created_at),
        "expires_at": to_text(invitation.expires_at),
        "accepted_at": text_or_none(invitation.accepted_at),
    }


def invited_json(invited: NewInvitation, issuer: str) -> InvitedJson:
    """Return a new invitation with its token. No other response contains the token."""
    return {
        "invitation": invitation_json(invited.invitation),
        "secret": invited.token.reveal(),
        "link": invitation_link(issuer, invited.token),
    }


def reset_json(made: NewResetLink, issuer: str) -> ResetJson:
    """Return a new link. No other response contains it."""
    return {"link": reset_link(issuer, made.token), "expires_at": to_text(made.expires_at)}


def role_json(role: Role) -> RoleJson:
    return {
        "id": role.id,
        "name": role.name,
        "description": role.description,
        "scopes": sorted(role.scopes),
        "built_in": role.id is None,
    }
