"""Request bodies and answers of service accounts."""

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
    """A service account to be made."""

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
    username: Annotated[Username | None, Field(description="Without it, one is made of the name.")] = None
    description: Description = ""
    contact_email: Email | None = None
    access_level: Level | None = None
    scopes: Scopes = []
    resources: Resources = []
    projects: Projects = []
    roles: Annotated[list[RoleBody], Field(max_length=MAX_ROLES)] = []
    credential: Annotated[
        OwnedCredentialBody | None,
        Field(description="A first credential, in the same transaction: both are made, or neither."),
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
    """Members that are sent are changed, the others stay."""

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


# Answers


class SharedProjectJson(TypedDict):
    """A project of another organization."""

    id: str
    """How it is named in a question: its code means nothing outside its organization."""
    code: str
    name: str


class OnBehalfJson(TypedDict):
    """Access that another organization gave. The account has it and nothing else there, and ends with it."""

    grant: str
    """The consent's id."""
    client_id: str
    """The application that asked."""
    project: str | None
    """The application's own project, if it has one."""
    organization: HomeOrganizationJson
    """Whose consent it is."""
    projects: list[SharedProjectJson]
    scopes: list[str]


class ServiceAccountJson(TypedDict):
    """A service account. `id`, `client_id` and `channel_identifier` each name it wherever an address asks for it."""

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
    """How many credentials it has that were not revoked: those that count toward limits."""
    on_behalf: OnBehalfJson | None
    """What another organization gave access to, of an account that was made for that."""
    organization: str
    created_at: Time


class CreatedAccountJson(TypedDict):
    """A new service account, and its first credential if one was asked for."""

    service_account: ServiceAccountJson
    credential: NotRequired[CredentialJson]
    secret: NotRequired[str | KeyFileJson | None]
    """The whole secret, or the key file's content. Null where the request was sent again with its `Idempotency-Key`."""


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
