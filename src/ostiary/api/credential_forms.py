"""Request bodies and answers of credentials, whatever their kind."""

from dataclasses import replace
from typing import Annotated, Any, Final, Literal, cast

from fastapi import Depends, Query
from pydantic import Field
from typing_extensions import TypedDict

from ostiary.api.forms import (
    INSTANT,
    Description,
    DisplayName,
    Expiry,
    Level,
    Name64,
    Networks,
    RateLimit,
    Resources,
    Scopes,
    Time,
    instant,
    sent,
)
from ostiary.api.route import StrictModel, example
from ostiary.core import key_file
from ostiary.core.instant import from_text, text_or_none, to_text
from ostiary.core.key_file import KeyAlgorithm, document
from ostiary.core.model import (
    AccessLevel,
    CredentialFilter,
    CredentialKind,
    CredentialStatus,
    OwnerKind,
    client_id_of,
    shown,
)
from ostiary.core.permission import Caller
from ostiary.core.problem import FieldError, invalid_fields
from ostiary.services.credentials import Created, CredentialListing
from ostiary.services.issuance import CredentialSpec

MAX_SEARCH: Final = 253


def _narrowed(
    status: Annotated[CredentialStatus | None, Query(description="Only credentials in this state.")] = None,
    search: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=MAX_SEARCH,
            description="Only credentials whose name or owner's name contains this text, in any case, or with this id or "
            "these last six characters.",
        ),
    ] = None,
    expires_before: Annotated[
        str | None,
        Query(description="Only credentials that expire before this instant: RFC 3339 with a zone."),
        INSTANT,
    ] = None,
    unused_since: Annotated[
        str | None,
        Query(
            description="Only credentials that were made before this instant and not used since: RFC 3339 with a zone."
        ),
        INSTANT,
    ] = None,
) -> CredentialFilter:
    errors: list[FieldError] = []
    before = instant("/expires_before", expires_before, errors)
    since = instant("/unused_since", unused_since, errors)
    if errors:
        raise invalid_fields(tuple(errors))
    return CredentialFilter(None, status, search, before, since)


NarrowedOf = Annotated[CredentialFilter, Depends(_narrowed)]


def _wanted(
    narrowed: NarrowedOf,
    kind: Annotated[CredentialKind | None, Query(description="Only credentials of this kind.")] = None,
) -> CredentialFilter:
    return replace(narrowed, kind=kind)


WantedOf = Annotated[CredentialFilter, Depends(_wanted)]
"""The filters of a list of credentials."""


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

    kind: Annotated[
        CredentialKind,
        Field(
            description="`api_key`: sent with each request; `client_secret`: with the client id; `key_file`: a private "
            "key, which signs."
        ),
    ] = "api_key"
    algorithm: Annotated[
        KeyAlgorithm | None, Field(description="Of a key file: how its key signs. Null: `RS256`.")
    ] = None
    compat: Annotated[
        Literal["google"] | None,
        Field(
            description="Of a key file with `RS256`: whose libraries' way of signing is accepted beside the documented "
            "one."
        ),
    ] = None

    def spec_for(self, caller: Caller) -> CredentialSpec:
        """The same with the key pair of a key file, if the caller may ask for one: it takes some 30 ms."""
        wanted = self.kind == "key_file" and caller.may("write:credentials")
        return replace(
            self.spec(),
            kind=self.kind,
            algorithm=self.algorithm,
            compat=self.compat,
            key_pair=key_file.generate(self.algorithm or "RS256") if wanted else None,
        )


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
        changed = sent(self)
        if changed.get("expires_at") is not None:
            changed["expires_at"] = from_text(changed["expires_at"])
        return changed


# Answers


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
    """The state of the credential itself. An active one is refused as well while its account is disabled, its
    organization is suspended, or a consent no longer opens its project."""
    display: str
    """What may be shown of it: its beginning and its last six characters."""
    access_id: str
    """The part of the secret by which it is looked up; it is no secret. The id of a key file's key."""
    last6: str | None
    """Null for an imported key, of which nobody here has seen it. Of a key file: of its public key's SHA-256."""
    client_id: str | None
    """The owner's, which is sent with a client secret and stands in a key file. Null for an API key."""
    compat: Literal["google"] | None
    """Of a key file: whose libraries' way of signing is accepted beside the documented one."""
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


class KeyFileJson(TypedDict):
    """A key file, as it is to be kept."""

    type: Literal["service_account"]
    project_id: str
    """Of the project that it is for; else the organization's id."""
    project_code: str
    """Empty without a project."""
    private_key_id: str
    key_id: str
    """The same."""
    private_key: str
    """PKCS#8 in PEM."""
    client_email: str
    channel_identifier: str
    """The same."""
    client_id: str
    token_uri: str


class CreatedJson(TypedDict):
    """A new credential, and the one answer that ever carries its secret."""

    credential: CredentialJson
    secret: str | KeyFileJson | None
    """The whole secret, or the key file's content. Null where the request was sent again with its `Idempotency-Key`."""


def credential_json(listed: CredentialListing) -> CredentialJson:
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
        "client_id": None if credential.kind == "api_key" else client_id_of(credential.owner_id),
        "compat": cast("Literal['google'] | None", credential.compat),
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


def created_json(created: Created, token_uri: str) -> CreatedJson:
    """A new credential with its secret: the one answer that ever carries it. `token_uri` goes into a key file."""
    secret: str | KeyFileJson
    if created.file is None:
        secret = created.secret.reveal()
    else:
        secret = cast("KeyFileJson", document(created.file, created.secret, token_uri))
    return {"credential": credential_json(created.listed), "secret": secret}
