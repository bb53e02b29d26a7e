"""Request and response bodies for credentials of every kind."""

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
            description="Only credentials whose name or owner's name contains this text "
            "(case-insensitive), or that have this id or these last six characters.",
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
            description="Only credentials that were created before this instant and have not "
            "been used since: RFC 3339 with a zone."
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
    """The credential to create. Every field is optional."""

    model_config = example({"name": "my laptop", "expires_at": "2027-06-30T00:00:00Z"})

    name: DisplayName | None = None
    description: Description = ""
    expires_at: Expiry | None = None
    allowed_ips: Networks = []
    access_level: Level | None = None
    scopes: Scopes = []
    resources: Resources = []
    project: Annotated[
        Name64 | None,
        Field(
            description="The id or code of the only project for which the "
            "credential is valid. Null: all projects."
        ),
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
    """The credential to create for a service account."""

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
            description="`api_key`: sent with each request. `client_secret`: sent with the "
            "client id. `key_file`: a private key that signs assertions."
        ),
    ] = "api_key"
    algorithm: Annotated[
        KeyAlgorithm | None, Field(description="The signature algorithm of a key file. Null: `RS256`.")
    ] = None
    compat: Annotated[
        Literal["google"] | None,
        Field(
            description="For a key file with `RS256`: also accept assertions as the libraries "
            "of this vendor sign them."
        ),
    ] = None

    def spec_for(self, caller: Caller) -> CredentialSpec:
        """Return the spec, with a key pair if this is a key file and the caller may create one.

        A key pair takes about 30 ms.
        """
        wanted = self.kind == "key_file" and caller.may("write:credentials")
        return replace(
            self.spec(),
            kind=self.kind,
            algorithm=self.algorithm,
            compat=self.compat,
            key_pair=key_file.generate(self.algorithm or "RS256") if wanted else None,
        )


class CredentialChanges(StrictModel):
    """Fields that are sent change. The others keep their values."""

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


# Responses


class OwnerJson(TypedDict):
    """The owner of a credential."""

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
    """The status of the credential itself. An active credential is also refused while its account is
    disabled, its organization is suspended, or no consent gives access to its project.
    """
    display: str
    """The part of the secret that can be shown: its beginning and its last six characters."""
    access_id: str
    """The part of the secret that identifies it. It is not secret. For a key file, the id of its key."""
    last6: str | None
    """Null for an imported key, because the service never saw the key. For a key file, the end of its public
    key's SHA-256.
    """
    client_id: str | None
    """The owner's client id. It is sent with a client secret and is part of a key file. Null for an API key."""
    compat: Literal["google"] | None
    """For a key file: the vendor whose libraries' signatures are also accepted."""
    access_level: AccessLevel
    scopes: list[str]
    resources: list[str]
    allowed_ips: list[str]
    rate_limit: int | None
    """The credential's own limit, in uses per minute. Null: the policy's limit applies."""
    organization: str
    project: str | None
    expires_at: Time | None
    created_at: Time
    last_used_at: Time | None
    """Counted in memory and written every ten seconds."""
    deactivated_at: Time | None
    revoked_at: Time | None
    generation: int
    """The number of secrets that the credential has had."""
    rotated_at: Time | None
    rotation: OverlapJson | None
    """Present while a rotation is in progress."""


class KeyFileJson(TypedDict):
    """The content of a key file."""

    type: Literal["service_account"]
    project_id: str
    """The id of the credential's project. Without a project, the organization's id."""
    project_code: str
    """Empty if there is no project."""
    private_key_id: str
    key_id: str
    """The same value."""
    private_key: str
    """PKCS#8 in PEM."""
    client_email: str
    channel_identifier: str
    """The same value."""
    client_id: str
    token_uri: str


class CreatedJson(TypedDict):
    """A new credential, in the only response that contains its secret."""

    credential: CredentialJson
    secret: str | KeyFileJson | None
    """The full secret, or the key file's content. Null if the request repeats an earlier one with the same
    `Idempotency-Key`.
    """


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
    """Return a new credential with its secret.

    No other response contains the secret. `token_uri` goes into a key file.
    """
    secret: str | KeyFileJson
    if created.file is None:
        secret = created.secret.reveal()
    else:
        secret = cast("KeyFileJson", document(created.file, created.secret, token_uri))
    return {"credential": credential_json(created.listed), "secret": secret}
