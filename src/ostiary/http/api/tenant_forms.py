"""Request bodies and answers of what an organization is made of: projects, members, roles, policies."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ostiary.core.instant import duration_from_text, duration_to_text, to_text
from ostiary.core.model import Invitation, Organization, Project, Role, RoleBinding
from ostiary.core.permission import MAX_LIFETIME, Policy
from ostiary.http.api.forms import (
    Description,
    DisplayName,
    Email,
    Name64,
    Names,
    RoleBody,
    Username,
    bindings_json,
)
from ostiary.http.api.route import StrictModel
from ostiary.services.members import MemberView
from ostiary.services.organizations import LIMITS, PolicyView
from ostiary.services.projects import ProjectBinding
from ostiary.services.roles import MAX_ROLES, RoleSpec

NUMBERS = ("max_credentials_per_service_account", "max_credentials_per_organization", "max_service_accounts")
MAX_NUMBER = 10_000_000


def _number(value: Any) -> Any:
    if value is None or value == "none" or (type(value) is int and 0 <= value <= MAX_NUMBER):
        return value
    raise ValueError(f"must be a whole number from 0 to {MAX_NUMBER}, or none")


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


Number = Annotated[int | str | None, BeforeValidator(_number), Field(examples=[10, "none"])]
Length = Annotated[str | None, BeforeValidator(_length), Field(examples=["90d", "none"])]
Delay = Annotated[str | None, BeforeValidator(_delay), Field(examples=["24h"])]


class OrganizationBody(StrictModel):
    name: DisplayName
    slug: Username


class OrganizationChanges(StrictModel):
    """`suspended` is the operator's to say."""

    name: DisplayName | None = None
    suspended: bool | None = None


class LimitsBody(StrictModel):
    """Limits by name: a value, `none` for no limit, null to go back to the installation's."""

    max_credentials_per_service_account: Number = None
    max_credentials_per_organization: Number = None
    max_service_accounts: Number = None
    default_credential_lifetime: Length = None
    max_credential_lifetime: Length = None
    deletion_delay: Delay = None

    def chosen(self) -> dict[str, Any]:
        """What was chosen, in the units of `Policy`; without what goes back to the default."""
        return {
            name: _units(name, value)
            for name in LIMITS
            if name in self.model_fields_set and (value := getattr(self, name)) is not None
        }

    def reset(self) -> frozenset[str]:
        return frozenset(
            name for name in LIMITS if name in self.model_fields_set and getattr(self, name) is None
        )


class PoliciesBody(LimitsBody):
    ceilings: LimitsBody | None = None
    """The operator's: what the organization may choose up to."""


def _units(name: str, value: Any) -> Any:
    if value == "none":
        return None
    return value if name in NUMBERS else duration_from_text(value)


class ProjectBody(StrictModel):
    name: DisplayName
    code: Username | None = None
    description: Description = ""


class ProjectChanges(StrictModel):
    name: DisplayName = ""
    description: Description = ""

    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


class ProjectBindingBody(StrictModel):
    principal: Annotated[str, Field(min_length=1, max_length=256)]
    role: Name64


class ProjectBindingsBody(StrictModel):
    bindings: Annotated[list[ProjectBindingBody], Field(max_length=1000)]

    def asked(self) -> tuple[ProjectBinding, ...]:
        return tuple(ProjectBinding(each.principal, each.role) for each in self.bindings)


class RolesBody(StrictModel):
    roles: Annotated[list[RoleBody], Field(max_length=MAX_ROLES)]

    def specs(self) -> tuple[RoleSpec, ...]:
        return tuple(RoleSpec(each.role, each.on) for each in self.roles)


class InvitationBody(RolesBody):
    email: Email


class RoleForm(StrictModel):
    name: Username
    description: Description = ""
    scopes: Names


class RoleChanges(StrictModel):
    description: Description = ""
    scopes: Names = []

    def changes(self) -> dict[str, Any]:
        sent = self.model_dump(include=self.model_fields_set)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in sent.items()}


class ScopeBody(StrictModel):
    scope: Annotated[str, AfterValidator(str), Field(max_length=96, examples=["read:invoices"])]


# Answers


def organization_json(organization: Organization) -> dict[str, Any]:
    return {
        "id": organization.id,
        "slug": organization.slug,
        "name": organization.name,
        "operator": organization.operator,
        "status": "active" if organization.suspended_at is None else "suspended",
        "created_at": to_text(organization.created_at),
    }


def policies_json(view: PolicyView) -> dict[str, Any]:
    def told(policy: Policy, name: str) -> Any:
        value = getattr(policy, name)
        return value if value is None or name in NUMBERS else duration_to_text(value)

    counts = {
        "max_credentials_per_organization": view.credentials,
        "max_service_accounts": view.service_accounts,
    }
    limits = {}
    for name in LIMITS:
        limits[name] = {
            "value": told(view.policy, name),
            "default": told(view.default, name),
            "ceiling": told(view.ceiling, name),
        }
        if name in counts:
            limits[name]["count"] = counts[name]
    return {"limits": limits}


def project_json(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "code": project.code,
        "name": project.name,
        "description": project.description,
        "organization": project.organization_id,
        "created_at": to_text(project.created_at),
    }


def project_bindings_json(bindings: list[tuple[str, RoleBinding]]) -> dict[str, Any]:
    return {"bindings": [{"principal": who, "role": binding.role} for who, binding in bindings]}


def member_json(view: MemberView, organization_id: str) -> dict[str, Any]:
    return {
        "id": view.member.id,
        "email": view.member.email,
        "status": "active" if view.member.disabled_at is None else "disabled",
        "roles": bindings_json(view.bindings, organization_id),
        "joined_at": to_text(view.member.joined_at),
    }


def invitation_json(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": invitation.id,
        "email": invitation.email,
        "roles": bindings_json(invitation.roles, invitation.organization_id),
        "created_at": to_text(invitation.created_at),
        "expires_at": to_text(invitation.expires_at),
        "accepted_at": None if invitation.accepted_at is None else to_text(invitation.accepted_at),
    }


def role_json(role: Role) -> dict[str, Any]:
    return {
        "id": role.id,
        "name": role.name,
        "description": role.description,
        "scopes": sorted(role.scopes),
        "built_in": role.id is None,
    }
