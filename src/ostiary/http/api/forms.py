"""Request bodies and what answers look like: the JSON of accounts, credentials and events."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ostiary.core import check
from ostiary.core.address import MAX_ENTRIES, parse_network
from ostiary.core.instant import Instant, duration_from_text, from_text, to_text
from ostiary.core.model import AccessLevel, Generation, RoleBinding, shown
from ostiary.http.api.route import StrictModel
from ostiary.services.credentials import Created, Listed
from ostiary.services.directory import AccountSpec, AccountView
from ostiary.services.minting import CredentialSpec
from ostiary.services.roles import MAX_ROLES, RoleSpec
from ostiary.services.rotation import Rotation
from ostiary.storage.audit import Recorded

MAX_NAMES = 100


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


DisplayName = Annotated[str, AfterValidator(check.display_name)]
Description = Annotated[str, AfterValidator(check.description)]
Username = Annotated[str, AfterValidator(check.username)]
Email = Annotated[str, AfterValidator(check.email)]
Expiry = Annotated[str, AfterValidator(_expiry), Field(examples=["2027-01-31T00:00:00Z"])]
Networks = Annotated[list[str], AfterValidator(_networks), Field(examples=[["203.0.113.0/24"]])]
Names = Annotated[list[str], AfterValidator(_unique)]
Duration = Annotated[str, AfterValidator(_duration), Field(examples=["24h"])]
Name64 = Annotated[str, Field(min_length=1, max_length=64)]


class CredentialBody(StrictModel):
    """A credential to be made; every member may be left out."""

    name: DisplayName | None = None
    description: Description = ""
    expires_at: Expiry | None = None
    allowed_ips: Networks = []
    access_level: AccessLevel | None = None
    scopes: Names = []
    resources: Names = []
    project: Name64 | None = None

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
        )


class OwnedCredentialBody(CredentialBody):
    kind: Literal["api_key"]


class CredentialChanges(StrictModel):
    """Members that are sent are changed, the others stay."""

    name: DisplayName = ""
    description: Description = ""
    expires_at: Expiry | None = None
    allowed_ips: Networks = []
    access_level: AccessLevel = "full"
    scopes: Names = []
    resources: Names = []

    def changes(self) -> dict[str, Any]:
        changed = _sent(self)
        if changed.get("expires_at") is not None:
            changed["expires_at"] = from_text(changed["expires_at"])
        return changed


class RotateBody(StrictModel):
    """How a credential is rotated; every member may be left out."""

    overlap: Duration | None = None
    expires_at: Expiry | None = None

    def length(self) -> int | None:
        """The overlap in microseconds; None: until completed."""
        return None if self.overlap is None else duration_from_text(self.overlap)

    def expiry(self) -> Instant | None:
        return None if self.expires_at is None else from_text(self.expires_at)


class RotationBody(StrictModel):
    action: Literal["complete", "cancel"]


class RoleBody(StrictModel):
    role: Name64
    on: Name64 | None = None


class RoleBindingsBody(StrictModel):
    bindings: Annotated[list[RoleBody], Field(max_length=MAX_ROLES)]

    def specs(self) -> tuple[RoleSpec, ...]:
        return tuple(RoleSpec(each.role, each.on) for each in self.bindings)


class AccountBody(StrictModel):
    """A service account to be made."""

    display_name: DisplayName
    username: Username | None = None
    description: Description = ""
    contact_email: Email | None = None
    access_level: AccessLevel | None = None
    scopes: Names = []
    resources: Names = []
    roles: Annotated[list[RoleBody], Field(max_length=MAX_ROLES)] = []
    credential: OwnedCredentialBody | None = None

    def spec(self) -> AccountSpec:
        return AccountSpec(
            display_name=self.display_name,
            username=self.username,
            description=self.description,
            contact_email=self.contact_email,
            access_level=self.access_level,
            scopes=tuple(self.scopes),
            resources=tuple(self.resources),
            roles=tuple(RoleSpec(each.role, each.on) for each in self.roles),
        )


class AccountChanges(StrictModel):
    """Members that are sent are changed, the others stay."""

    display_name: DisplayName = ""
    description: Description = ""
    contact_email: Email | None = None
    access_level: AccessLevel = "full"
    scopes: Names = []
    resources: Names = []

    def changes(self) -> dict[str, Any]:
        return _sent(self)


class MatchBody(StrictModel):
    methods: Annotated[list[str], Field(min_length=1, max_length=20)] | None = None
    path: Annotated[str, Field(max_length=1024)]
    scopes: Names = []
    resource: Annotated[str, Field(max_length=256)] | None = None


class AccessRuleBody(StrictModel):
    """A rule for proxies: the first line that fits a forwarded request decides; none is a refusal."""

    match: Annotated[list[MatchBody], Field(max_length=200)]
    project: Name64 | None = None
    kinds: Annotated[list[Literal["api_key"]], Field(min_length=1)] | None = None
    organizations: Annotated[list[Name64], Field(min_length=1, max_length=1000)] | None = None
    assertion: Literal[False] = False
    """Signed assertions for upstreams come with access tokens; until then only false is taken."""

    def document(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True, exclude={"assertion"})


def _sent(body: StrictModel) -> dict[str, Any]:
    sent = body.model_dump(include=body.model_fields_set)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in sent.items()}


# Answers


def _time(instant: Instant | None) -> str | None:
    return None if instant is None else to_text(instant)


def account_json(view: AccountView) -> dict[str, Any]:
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
        "status": "enabled" if account.disabled_at is None else "disabled",
        "roles": bindings_json(view.bindings, account.organization_id),
        "credentials": view.credentials,
        "organization": account.organization_id,
        "created_at": to_text(account.created_at),
    }


def bindings_json(bindings: tuple[RoleBinding, ...], organization_id: str) -> list[dict[str, str]]:
    return [{"role": each.role, "on": each.project_id or organization_id} for each in bindings]


def credential_json(listed: Listed) -> dict[str, Any]:
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
        "organization": credential.organization_id,
        "project": credential.project_id,
        "expires_at": _time(credential.expires_at),
        "created_at": to_text(credential.created_at),
        "last_used_at": _time(credential.last_used_at),
        "deactivated_at": _time(credential.deactivated_at),
        "revoked_at": _time(credential.revoked_at),
        "generation": credential.generation,
        "rotated_at": _time(credential.secret_created_at) if credential.generation > 1 else None,
        "rotation": None
        if credential.overlap is None
        else {
            "previous_last6": credential.overlap.last6 or None,
            "ends_at": _time(credential.overlap.ends_at),
        },
    }


def rotation_json(rotation: Rotation) -> dict[str, Any]:
    return {
        "credential": rotation.credential.id,
        "state": rotation.state,
        "old": None if rotation.old is None else _generation_json(rotation.old),
        "new": None if rotation.new is None else _generation_json(rotation.new),
        "safe_to_revoke": not rotation.reasons,
        "reasons": list(rotation.reasons),
    }


def _generation_json(generation: Generation) -> dict[str, Any]:
    return {
        "generation": generation.number,
        "display": shown(generation.prefix, generation.access_id, generation.last6),
        "access_id": generation.access_id,
        "last6": generation.last6 or None,
        "created_at": to_text(generation.created_at),
        "superseded_at": _time(generation.superseded_at),
        "ends_at": _time(generation.ends_at),
        "ended_at": _time(generation.ended_at),
        "last_used_at": _time(generation.last_used_at),
        "uses": generation.uses,
    }


def created_json(created: Created) -> dict[str, Any]:
    """A new credential with its secret: the one answer that ever carries it."""
    return {"credential": credential_json(created.listed), "secret": created.secret.reveal()}


def event_json(event: Recorded) -> dict[str, Any]:
    return {
        "id": event.id,
        "time": to_text(event.time),
        "action": event.action,
        "actor": {
            "type": event.actor_type,
            "id": event.actor_id,
            "display": event.actor_display,
            "credential_id": event.actor_credential_id,
        },
        "target": None
        if event.target_type is None
        else {"type": event.target_type, "id": event.target_id, "display": event.target_display},
        "outcome": event.outcome,
        "reason": event.reason,
        "address": event.address,
        "user_agent": event.user_agent,
        "request_id": event.request_id,
        "details": event.details,
    }
