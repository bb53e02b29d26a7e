"""Request and response bodies for service accounts."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ostiary.api.credential_forms import CredentialJson, KeyFileJson, OwnedCredentialBody
from ostiary.api.forms import (
    Description,
    DisplayName,
    Email,
    Level,
    Projects,
    Resources,
    RoleBindingJson,
    RoleBody,
    Scopes,
    Time,
    Username,
    bindings_json,
    sent,
)
from ostiary.api.route import StrictModel, example
from ostiary.core.instant import to_text
from ostiary.core.model import AccessLevel
from ostiary.http.verdict_response import HomeOrganizationJson
from ostiary.services.consents import AccessOnBehalf
from ostiary.services.roles import MAX_ROLES, RoleSpec
from ostiary.services.service_accounts import AccountSpec, AccountView


class AccountBody(StrictModel):
    """The service account to create."""

    model_config = example(
        {
            "display_name": "Deploy bot",
            "description": "Ships releases",
            "contact_email": "ops@acme.example",
            "roles": [{"role": "developer"}],
            "credential": {"kind": "api_key", "name": "release"},
        }
    )

    display_name: DisplayName
    username: Annotated[Username | None, Field(description="If omitted, it is derived from the name.")] = None
    description: Description = ""
    contact_email: Email | None = None
    access_level: Level | None = None
    scopes: Scopes = []
    resources: Resources = []
    projects: Projects = []
    roles: Annotated[list[RoleBody], Field(max_length=MAX_ROLES)] = []
    credential: Annotated[
        OwnedCredentialBody | None,
        Field(
            description="A first credential. It is created in the same transaction as the "
            "account: both are created, or neither."
        ),
    ] = None

    def spec(self) -> AccountSpec:
        return AccountSpec(
            display_name=self.display_name,
            username=self.username,
            description=self.description,
            contact_email=self.contact_email,
            access_level=self.access_level,
            scopes=tuple(self.scopes),
            resources=tuple(self.resources),
            projects=tuple(self.projects),
            roles=tuple(RoleSpec(each.role, each.on) for each in self.roles),
        )


class AccountChanges(StrictModel):
    """Fields that are sent change. The others keep their values."""

    model_config = example({"display_name": "CI bot", "description": "Builds and ships releases"})

    display_name: DisplayName = ""
    description: Description = ""
    contact_email: Email | None = None
    access_level: Level = "full"
    scopes: Scopes = []
    resources: Resources = []
    projects: Projects = []

    def changes(self) -> dict[str, Any]:
        return sent(self)


# Responses


class SharedProjectJson(TypedDict):
    """A project of another organization."""

    id: str
    """The id that names the project in a verification request. Its code is valid only inside its organization."""
    code: str
    name: str


class OnBehalfJson(TypedDict):
    """Access that another organization granted.

    The account has no other access, and is deleted when this access ends.
    """

    grant: str
    """The id of the consent."""
    client_id: str
    """The application that requested access."""
    project: str | None
    """The application's own project, if it has one."""
    organization: HomeOrganizationJson
    """The organization that gave the consent."""
    projects: list[SharedProjectJson]
    scopes: list[str]


class ServiceAccountJson(TypedDict):
    """A service account. Paths accept its `id`, its `client_id` or its `channel_identifier`."""

    id: str
    client_id: str
    channel_identifier: str
    display_name: str
    username: str
    description: str
    contact_email: str | None
    access_level: AccessLevel
    scopes: list[str]
    resources: list[str]
    projects: list[str]
    status: Literal["enabled", "disabled"]
    roles: list[RoleBindingJson]
    credentials: int
    """The number of credentials that are not revoked. They count toward limits."""
    on_behalf: OnBehalfJson | None
    """The access that another organization granted, if the account was created for it."""
    organization: str
    created_at: Time


class CreatedAccountJson(TypedDict):
    """A new service account, and its first credential if one was requested."""

    service_account: ServiceAccountJson
    credential: NotRequired[CredentialJson]
    secret: NotRequired[str | KeyFileJson | None]
    """The full secret, or the key file's content. Null if the request repeats an earlier one with the same
    `Idempotency-Key`.
    """


def account_json(view: AccountView) -> ServiceAccountJson:
    account = view.account
    return {
        "id": account.id,
        "client_id": account.client_id,
        "channel_identifier": view.channel_identifier,
        "display_name": account.display_name,
        "username": account.username,
        "description": account.description,
        "contact_email": account.contact_email,
        "access_level": account.access_level,
        "scopes": list(account.scopes),
        "resources": list(account.resources),
        "projects": list(account.projects),
        "status": "enabled" if account.disabled_at is None else "disabled",
        "roles": bindings_json(view.bindings, account.organization_id),
        "credentials": view.credentials,
        "on_behalf": None if view.on_behalf is None else _on_behalf_json(view.on_behalf),
        "organization": account.organization_id,
        "created_at": to_text(account.created_at),
    }


def _on_behalf_json(found: AccessOnBehalf) -> OnBehalfJson:
    return {
        "grant": found.consent.id,
        "client_id": found.consent.client_id,
        "project": found.project_id,
        "organization": {"id": found.giver.id, "slug": found.giver.slug, "name": found.giver.name},
        "projects": [{"id": each.id, "code": each.code, "name": each.name} for each in found.projects],
        "scopes": list(found.consent.scopes),
    }
