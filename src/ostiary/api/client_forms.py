"""Request and response bodies for clients, and for the consents that people gave them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from ostiary.api.forms import DisplayName, Name64, Names, Time, sent
from ostiary.api.route import StrictModel, example
from ostiary.core.client_keys import read_keys
from ostiary.core.client_metadata import MAX_NAME, GrantType
from ostiary.core.instant import text_or_none, to_text
from ostiary.core.model import AuthMethod, ClientAccess, OAuthClient
from ostiary.core.redirect import MAX_REDIRECTS, redirect_uri
from ostiary.core.url import MAX_URL, read_url
from ostiary.services.clients import ClientSpec
from ostiary.services.consents import ConsentListing


def _keys(jwks: dict[str, Any]) -> dict[str, Any]:
    read_keys(jwks)
    return jwks


def _https(text: str) -> str:
    if read_url(text).scheme != "https":
        raise ValueError("must begin with https://")
    return text


def _web(text: str) -> str:
    read_url(text)
    return text


ClientName = Annotated[
    DisplayName,
    Field(
        description="The name that people see when the client requests access.",
        json_schema_extra={"maxLength": MAX_NAME},
    ),
]
RedirectUri = Annotated[
    str, AfterValidator(redirect_uri), Field(json_schema_extra={"format": "uri", "maxLength": MAX_URL})
]
RedirectUris = Annotated[
    list[RedirectUri],
    Field(
        max_length=MAX_REDIRECTS,
        description="The URIs to which people can be redirected. They are compared character by "
        "character, except for the port of loopback addresses.",
    ),
]
GrantTypes = Annotated[
    list[GrantType],
    Field(
        max_length=3,
        description="The grant types that the client can use. With `refresh_token` it can renew its access.",
    ),
]
ScopesAskedFor = Annotated[
    Names,
    Field(
        description="The scopes that the client can request. Empty: everything that the person "
        "who consents may do (only for access `user`)."
    ),
]
Method = Annotated[
    AuthMethod,
    Field(
        description="`none`: the client cannot keep a key secret. `private_key_jwt`: the "
        "client signs assertions (RFC 7523)."
    ),
]
Jwks = Annotated[
    dict[str, Any],
    AfterValidator(_keys),
    Field(
        description="The client's public keys as a JWK Set: RSA of 2048 bits or more, EC P-256 or Ed25519."
    ),
]
JwksUri = Annotated[
    str,
    AfterValidator(_https),
    Field(
        description="The URL of the client's public keys, in place of `jwks`. It must use https "
        "and a public address.",
        json_schema_extra={"format": "uri", "maxLength": MAX_URL},
    ),
]
ClientUri = Annotated[
    str,
    AfterValidator(_web),
    Field(
        description="The client's website, for people.",
        json_schema_extra={"format": "uri", "maxLength": MAX_URL},
    ),
]


class ClientBody(StrictModel):
    """The client to register."""

    model_config = example(
        {
            "name": "Delivery tracker",
            "redirect_uris": ["https://tracker.acme.example/callback"],
            "scopes": ["read:agents"],
            "access": "organization",
            "project": "shop",
        }
    )

    name: ClientName
    redirect_uris: RedirectUris
    grant_types: GrantTypes = ["authorization_code", "refresh_token"]
    scopes: ScopesAskedFor = []
    auth_method: Method = "none"
    jwks: Jwks | None = None
    jwks_uri: JwksUri | None = None
    client_uri: ClientUri | None = None
    access: Annotated[
        ClientAccess,
        Field(
            description="`user`: the client acts for the person who consents. `organization`: "
            "admins of other organizations give it access to their projects, and a "
            "service account with that access is created in this organization. It "
            "cannot be changed later."
        ),
    ] = "user"
    project: Annotated[
        Name64 | None,
        Field(
            description="The project that the client belongs to, by id or code (only for "
            "access `organization`)."
        ),
    ] = None

    def spec(self) -> ClientSpec:
        return ClientSpec(
            name=self.name,
            redirect_uris=tuple(self.redirect_uris),
            grant_types=tuple(self.grant_types),
            scopes=tuple(self.scopes),
            auth_method=self.auth_method,
            jwks=self.jwks,
            jwks_uri=self.jwks_uri,
            client_uri=self.client_uri,
            access=self.access,
            project=self.project,
        )


class ClientChanges(StrictModel):
    """Fields that are sent change. The others keep their values. `jwks` and `jwks_uri` replace each other."""

    model_config = example({"name": "Delivery tracker 2"})

    name: ClientName = ""
    redirect_uris: RedirectUris = []
    grant_types: GrantTypes = []
    scopes: ScopesAskedFor = []
    auth_method: Method = "none"
    jwks: Jwks | None = None
    jwks_uri: JwksUri | None = None
    client_uri: ClientUri | None = None
    project: Name64 | None = None

    def changes(self) -> dict[str, Any]:
        return sent(self)


# Responses


class ClientJson(TypedDict):
    """An application that asks people for access. It has no secret."""

    id: str
    """The `client_id`."""
    name: str
    access: ClientAccess
    redirect_uris: list[str]
    grant_types: list[str]
    scopes: list[str]
    auth_method: AuthMethod
    jwks: dict[str, Any] | None
    jwks_uri: str | None
    client_uri: str | None
    project: str | None
    """The id of the project that the client belongs to."""
    status: Literal["enabled", "disabled"]
    organization: str
    created_at: Time


class GrantedClientJson(TypedDict):
    """The client that received access."""

    id: str
    name: str
    organization: str | None
    """The id of the organization whose account has the access. Null if the client acts for the user."""


class GrantingUserJson(TypedDict):
    """The user who gave the consent."""

    id: str
    email: str


class GrantJson(TypedDict):
    """A consent: the access that a person gives to a client."""

    id: str
    client: GrantedClientJson
    user: GrantingUserJson
    organization: str
    """The id of the organization whose resources the client can access."""
    scopes: list[str]
    projects: list[str]
    """The ids of the projects to which access is limited. Empty means all, if the client acts for the user."""
    service_account: str | None
    """The id of the account in the client's organization that has the access. Null if the client acts for the user."""
    created_at: Time
    updated_at: Time
    revoked_at: Time | None
    """When the consent ended. All access that was based on it ended at the same time."""


def client_json(client: OAuthClient) -> ClientJson:
    return {
        "id": client.id,
        "name": client.name,
        "access": client.access,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(client.grant_types),
        "scopes": list(client.scopes),
        "auth_method": client.auth_method,
        "jwks": client.jwks,
        "jwks_uri": client.jwks_uri,
        "client_uri": client.client_uri,
        "project": client.project_id,
        "status": "enabled" if client.disabled_at is None else "disabled",
        "organization": str(client.organization_id),
        "created_at": to_text(client.created_at),
    }


def grant_json(listed: ConsentListing) -> GrantJson:
    consent, home = listed.consent, listed.client_organization
    return {
        "id": consent.id,
        "client": {
            "id": consent.client_id,
            "name": listed.client_name,
            "organization": None if home is None else home.id,
        },
        "user": {"id": consent.user_id, "email": listed.user_email},
        "organization": consent.organization_id,
        "scopes": list(consent.scopes),
        "projects": list(consent.projects),
        "service_account": consent.service_account_id,
        "created_at": to_text(consent.created_at),
        "updated_at": to_text(consent.updated_at),
        "revoked_at": text_or_none(consent.revoked_at),
    }
