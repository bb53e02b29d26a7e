"""Request bodies and what answers look like: the JSON of accounts and credentials."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from ostiary.core import check
from ostiary.core.address import MAX_ENTRIES, parse_network
from ostiary.core.instant import Instant, duration_from_text, from_text, text_or_none, to_text
from ostiary.core.model import (
    AccessLevel,
    CredentialKind,
    CredentialStatus,
    OwnerKind,
    RoleBinding,
    shown,
)
from ostiary.core.problem import FieldError
from ostiary.core.rate import MAX_RATE
from ostiary.http.api.route import StrictModel, example
from ostiary.services.credentials import Created, Listed
from ostiary.services.minting import CredentialSpec
from ostiary.services.roles import MAX_ROLES, RoleSpec
from ostiary.services.service_accounts import AccountSpec, AccountView

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


class CredentialBody(StrictModel):
    """A credential to be made; every member may be left out."""

    model_config = example({"name": "my laptop", "expires_at": "2027-06-30T00:00:00Z"})

    name: DisplayName | None = None
    description: Description = ""
    expires_at: Expiry | None = None
    allowed_ips: Networks = []
    access_level: Level | None = None
    scopes: Scopes = []
    resources: Resources = []
    project: Annotated[
        Name64 | None, Field(description="Id or code: it is for this project only. Null: for all.")
    ] = None
    rate_limit: RateLimit = None

    def spec(self) -> CredentialSpec:
        return CredentialSpec(
            name=self.name,
            description=self.description,
            expires_at=None if self.expires_at is None else from_text(self.expires_at),
            allowed_ips=tuple(self.allowed_ips),
            access_level=self.access_level,
            scopes=tuple(self.scopes),
            resources=tuple(self.resources),
            project=self.project,
            rate_limit=self.rate_limit,
        )


class OwnedCredentialBody(CredentialBody):
    """A credential to be made for a service account."""

    model_config = example(
        {
            "kind": "api_key",
            "name": "nightly build",
            "allowed_ips": ["203.0.113.0/24"],
            "scopes": ["read:agents"],
            "resources": ["agents/*"],
        }
    )

    kind: Annotated[Literal["api_key"], Field(description="API keys are the only kind so far.")]


class CredentialChanges(StrictModel):
    """Members that are sent are changed, the others stay."""

    model_config = example({"name": "nightly build", "expires_at": "2027-06-30T00:00:00Z"})

    name: DisplayName = ""
    description: Description = ""
    expires_at: Expiry | None = None
    allowed_ips: Networks = []
    access_level: Level = "full"
    scopes: Scopes = []
    resources: Resources = []
    rate_limit: RateLimit = None

    def changes(self) -> dict[str, Any]:
        changed = _sent(self)
        if changed.get("expires_at") is not None:
            changed["expires_at"] = from_text(changed["expires_at"])
        return changed


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
        return _sent(self)


def _sent(body: StrictModel) -> dict[str, Any]:
    sent = body.model_dump(include=body.model_fields_set)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in sent.items()}


# Answers


class RoleBindingJson(TypedDict):
    """A role, and where it is held."""

    role: str
    on: str
    """An organization's id, or a project's."""


class RoleBindingsJson(TypedDict):
    """Every role that is held."""

    bindings: list[RoleBindingJson]


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
    organization: str
    created_at: Time


class OwnerJson(TypedDict):
    """Whom a credential belongs to."""

    type: OwnerKind
    id: str
    display_name: str


class OverlapJson(TypedDict):
    """The old secret, which is still accepted."""

    previous_last6: str | None
    ends_at: Time | None
    """Null: until the rotation is completed."""


class CredentialJson(TypedDict):
    """A credential, without its secret."""

    id: str
    kind: CredentialKind
    name: str
    description: str
    owner: OwnerJson
    status: CredentialStatus
    display: str
    """What may be shown of it: its beginning and its last six characters."""
    access_id: str
    """The part of the key by which it is looked up; it is no secret."""
    last6: str | None
    """Null for an imported key, of which nobody here has seen it."""
    access_level: AccessLevel
    scopes: list[str]
    resources: list[str]
    allowed_ips: list[str]
    rate_limit: int | None
    """Its own, in uses a minute. Null: what the policy says."""
    organization: str
    project: str | None
    expires_at: Time | None
    created_at: Time
    last_used_at: Time | None
    """Counted in memory and written every ten seconds."""
    deactivated_at: Time | None
    revoked_at: Time | None
    generation: int
    """How many secrets it has had."""
    rotated_at: Time | None
    rotation: OverlapJson | None
    """While a rotation is under way."""


class CreatedJson(TypedDict):
    """A new credential, and the one answer that ever carries its secret."""

    credential: CredentialJson
    secret: str | None
    """The whole key. Null where the request was sent again with its `Idempotency-Key`."""


class CreatedAccountJson(TypedDict):
    """A new service account, and its first credential if one was asked for."""

    service_account: ServiceAccountJson
    credential: NotRequired[CredentialJson]
    secret: NotRequired[str | None]
    """The whole key. Null where the request was sent again with its `Idempotency-Key`."""


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
        "organization": account.organization_id,
        "created_at": to_text(account.created_at),
    }


def bindings_json(bindings: tuple[RoleBinding, ...], organization_id: str) -> list[RoleBindingJson]:
    return [{"role": each.role, "on": each.project_id or organization_id} for each in bindings]


def credential_json(listed: Listed) -> CredentialJson:
    credential = listed.credential
    return {
        "id": credential.id,
        "kind": credential.kind,
        "name": credential.name,
        "description": credential.description,
        "owner": {
            "type": credential.owner_kind,
            "id": credential.owner_id,
            "display_name": listed.owner_name,
        },
        "status": credential.status(listed.read_at),
        "display": shown(credential.prefix, credential.access_id, credential.last6),
        "access_id": credential.access_id,
        "last6": credential.last6 or None,
        "access_level": credential.access_level,
        "scopes": list(credential.scopes),
        "resources": list(credential.resources),
        "allowed_ips": list(credential.allowed_ips),
        "rate_limit": credential.rate_limit,
        "organization": credential.organization_id,
        "project": credential.project_id,
        "expires_at": text_or_none(credential.expires_at),
        "created_at": to_text(credential.created_at),
        "last_used_at": text_or_none(credential.last_used_at),
        "deactivated_at": text_or_none(credential.deactivated_at),
        "revoked_at": text_or_none(credential.revoked_at),
        "generation": credential.generation,
        "rotated_at": text_or_none(credential.secret_created_at) if credential.generation > 1 else None,
        "rotation": None
        if credential.overlap is None
        else {
            "previous_last6": credential.overlap.last6 or None,
            "ends_at": text_or_none(credential.overlap.ends_at),
        },
    }


def created_json(created: Created) -> CreatedJson:
    """A new credential with its secret: the one answer that ever carries it."""
    return {"credential": credential_json(created.listed), "secret": created.secret.reveal()}
