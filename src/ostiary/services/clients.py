"""OAuth clients: applications that ask people for access. What people allow them is in `consents`.

A client has no secret, and registration gives no access. A client gets access only by a person's consent, and never
more than that person holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from ostiary.core import limits
from ostiary.core.address import network_of
from ostiary.core.client_keys import known_parameters
from ostiary.core.client_metadata import ClientMetadata, MetadataError, read_managed
from ostiary.core.event import Target
from ostiary.core.instant import Instant
from ostiary.core.model import ClientAccess, ClientSource, OAuthClient
from ostiary.core.oauth import AUTHORIZATION_CODE, OFFLINE_ACCESS, REFRESH_TOKEN, known_scopes
from ostiary.core.permission import Caller, Catalogue, require
from ostiary.core.problem import FieldError, Problem, invalid, invalid_fields, not_found
from ostiary.services import audit, consents
from ostiary.services.audit import change
from ostiary.storage import clients as rows
from ostiary.storage import consents as consent_rows
from ostiary.storage import directory, sessions
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Tx

MAX_UNUSED: Final = 10_000
"""Most self-registered clients without a consent. Each further registration deletes an old one (`rows.make_room`)."""

_FIELDS: Final[Mapping[str, str]] = {
    # Fields of RFC 7591 that have another name in the API.
    "client_name": "name",
    "scope": "scopes",
    "token_endpoint_auth_method": "auth_method",
}


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """A client to register. The caller has checked the form of each value; their meaning is checked here."""

    name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...] = (AUTHORIZATION_CODE, REFRESH_TOKEN)
    scopes: tuple[str, ...] = ()
    auth_method: str = "none"
    jwks: dict[str, Any] | None = None
    jwks_uri: str | None = None
    client_uri: str | None = None
    access: ClientAccess = "user"
    project: str | None = None
    """Id or code. Only for a client with `access` "organization"."""


def create(tx: Tx, caller: Caller, spec: ClientSpec) -> OAuthClient:
    """Register a client that belongs to the caller's organization.

    Raises validation-failed, not-found for the project, or limit-reached.
    """
    require(caller, "write:clients")
    project_id = _project(tx, caller, spec)
    client = _checked(tx, caller, spec, tx.new_id("app"), tx.now, project_id)
    limits.check("clients", rows.count(tx, caller.organization_id))
    rows.insert(tx, client)
    change(
        tx,
        caller,
        "client.created",
        _target(client),
        access=client.access,
        redirect_uris=list(client.redirect_uris),
        grant_types=list(client.grant_types),
        scopes=list(client.scopes),
        auth_method=client.auth_method,
        project=client.project_id,
    )
    return client


def register(tx: Tx, caller: Caller, metadata: ClientMetadata, jwks: dict[str, Any] | None) -> OAuthClient:
    """Store a client that registers itself (RFC 7591). The request is not authenticated.

    So the client belongs to no organization, and the event goes to the operator's audit log. Raises unavailable before
    `ostiary init`.
    """
    operator = directory.find_operator(tx)
    if operator is None:
        raise Problem("unavailable", "The service is not set up yet.", reason="no operator")
    while rows.count_unused(tx) >= MAX_UNUSED:
        rows.make_room(tx)
    catalogue = Catalogue(role_rows.scopes_of_catalogue(tx))
    client = from_metadata(metadata, jwks, tx.new_id("app"), "registration", tx.now, catalogue)
    rows.insert(tx, client, network_of(caller.address))
    change(
        tx,
        replace(caller, organization_id=operator.id),
        "client.registered",
        _target(client),
        redirect_uris=list(client.redirect_uris),
        grant_types=list(client.grant_types),
        scopes=list(client.scopes),
        auth_method=client.auth_method,
    )
    return client


def from_metadata(
    metadata: ClientMetadata,
    jwks: dict[str, Any] | None,
    client_id: str,
    source: ClientSource,
    created_at: Instant,
    catalogue: Catalogue,
) -> OAuthClient:
    """Return a client made from its own metadata. It belongs to no organization and acts for people.

    Unknown scopes are removed (RFC 7591 §2). If none is left, the client is registered like one without `scope`.
    """
    return OAuthClient(
        id=client_id,
        source=source,
        organization_id=None,
        project_id=None,
        access="user",
        name=metadata.name,
        redirect_uris=metadata.redirect_uris,
        grant_types=metadata.grant_types,
        scopes=known_scopes(metadata.scopes, catalogue),
        auth_method=metadata.auth_method,
        jwks=None if jwks is None else known_parameters(jwks),
        jwks_uri=metadata.jwks_uri,
        client_uri=metadata.client_uri,
        created_at=created_at,
        disabled_at=None,
    )


def list_page(tx: Tx, caller: Caller, after: str | None, limit: int) -> list[OAuthClient]:
    """Return the organization's own clients, newest first, starting after the id `after`."""
    require(caller, "read:clients")
    return rows.list_page(tx, caller.organization_id, after, limit)


def get(tx: Tx, caller: Caller, client_id: str) -> OAuthClient:
    require(caller, "read:clients")
    return _find(tx, caller, client_id)


def update(tx: Tx, caller: Caller, client_id: str, changes: dict[str, Any]) -> OAuthClient:
    """Change any field except `access`. Existing consents stay as they are."""
    require(caller, "write:clients")
    before = _find(tx, caller, client_id)
    spec = replace(_spec_of(before), **_settled(changes))
    # An unchanged project may have been deleted since; it is not checked again.
    project_id = spec.project if spec.project == before.project_id else _project(tx, caller, spec)
    after = _checked(tx, caller, spec, before.id, before.created_at, project_id)
    after = replace(after, disabled_at=before.disabled_at)
    if after == before:
        tx.confirm()
        return before
    changed = [
        each.name for each in fields(OAuthClient) if getattr(before, each.name) != getattr(after, each.name)
    ]
    rows.update(tx, before.id, {name: getattr(after, name) for name in changed})
    tx.changed("client", before.id)
    audit.record_update(tx, caller, "client.updated", _target(after), before, after)
    return after


def set_disabled(tx: Tx, caller: Caller, client_id: str, disabled: bool) -> OAuthClient:
    """Disable a client, which stops all use of its consents; or enable it again. Idempotent."""
    require(caller, "write:clients")
    client = _find(tx, caller, client_id)
    if (client.disabled_at is not None) == disabled:
        tx.confirm()
        return client
    client = replace(client, disabled_at=tx.now if disabled else None)
    rows.update(tx, client.id, {"disabled_at": client.disabled_at})
    tx.changed("client", client.id)
    # The keys of the service accounts made for its consents are cached under the organization.
    tx.changed("organization", caller.organization_id)
    change(tx, caller, f"client.{'disabled' if disabled else 'enabled'}", _target(client))
    return client


def delete(tx: Tx, caller: Caller, client_id: str) -> None:
    """Delete a client. All consents to it, their sessions and service accounts end in the same transaction."""
    require(caller, "write:clients")
    client = _find(tx, caller, client_id)
    found = consent_rows.of_client(tx, client.id)
    for consent in found:
        consents.end(tx, caller, consent, "its client was deleted")
    consents.end_sessions(tx, sessions.revoke_of_client(tx, client.id))
    rows.delete(tx, client.id)
    tx.changed("client", client.id)
    change(tx, caller, "client.deleted", _target(client), consents=len(found))


def _find(tx: Tx, caller: Caller, client_id: str) -> OAuthClient:
    client = rows.find_own(tx, caller.organization_id, client_id)
    if client is None:
        raise not_found("client")
    return client


def _settled(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with consistent keys: `jwks` and `jwks_uri` replace each other, a public client has neither."""
    if changes.get("jwks") is not None and "jwks_uri" not in changes:
        return changes | {"jwks_uri": None}
    if changes.get("jwks_uri") is not None and "jwks" not in changes:
        return changes | {"jwks": None}
    if changes.get("auth_method") == "none":
        return {"jwks": None, "jwks_uri": None} | changes
    return changes


def _project(tx: Tx, caller: Caller, spec: ClientSpec) -> str | None:
    if spec.project is None:
        return None
    if spec.access == "user":
        raise invalid("/project", "contradiction", "is for access organization only")
    found = directory.find_project(tx, caller.organization_id, spec.project)
    if found is None:
        raise not_found("project")
    return found.id


def _checked(
    tx: Tx, caller: Caller, spec: ClientSpec, client_id: str, created_at: Instant, project_id: str | None
) -> OAuthClient:
    """Return the client that a specification describes. Raises validation-failed."""
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    errors = _scope_errors(catalogue, spec)
    if spec.access == "organization" and not set(spec.grant_types) <= {AUTHORIZATION_CODE, REFRESH_TOKEN}:
        reason = "may only be authorization_code and refresh_token if access is organization"
        errors.append(FieldError("/grant_types", "invalid", reason))
    if errors:
        raise invalid_fields(tuple(errors))
    metadata = _metadata(spec)
    client = from_metadata(metadata, spec.jwks, client_id, "organization", created_at, catalogue)
    return replace(client, organization_id=caller.organization_id, project_id=project_id, access=spec.access)


def _scope_errors(catalogue: Catalogue, spec: ClientSpec) -> list[FieldError]:
    if spec.access == "user":
        return [
            FieldError(f"/scopes/{number}", "unknown-scope", "is not in the catalogue of scopes")
            for number, scope in enumerate(spec.scopes)
            if not catalogue.knows(scope) and scope != OFFLINE_ACCESS
        ]
    # An organization can give access to resources of applications, never to this API.
    errors = [
        FieldError(f"/scopes/{number}", "unknown-scope", "is not in the catalogue of applications' scopes")
        for number, scope in enumerate(spec.scopes)
        if scope not in catalogue.names and scope != OFFLINE_ACCESS
    ]
    if not set(spec.scopes) - {OFFLINE_ACCESS}:
        errors.append(
            FieldError("/scopes", "missing", "must list at least one scope if access is organization")
        )
    return errors


def _metadata(spec: ClientSpec) -> ClientMetadata:
    try:
        return read_managed(
            {
                "client_name": spec.name,
                "redirect_uris": list(spec.redirect_uris),
                "grant_types": list(spec.grant_types),
                "scope": " ".join(spec.scopes),
                "token_endpoint_auth_method": spec.auth_method,
                "jwks": spec.jwks,
                "jwks_uri": spec.jwks_uri,
                "client_uri": spec.client_uri,
            }
        )
    except MetadataError as error:
        # A description begins with the field's name.
        field, _, reason = error.description.partition(" ")
        field = field.rstrip(",")
        pointer = f"/{_FIELDS.get(field, field)}"
        raise invalid(pointer, "invalid", reason) from None


def _spec_of(client: OAuthClient) -> ClientSpec:
    return ClientSpec(
        name=client.name,
        redirect_uris=client.redirect_uris,
        grant_types=client.grant_types,
        scopes=client.scopes,
        auth_method=client.auth_method,
        jwks=client.jwks,
        jwks_uri=client.jwks_uri,
        client_uri=client.client_uri,
        access=client.access,
        project=client.project_id,
    )


def _target(client: OAuthClient) -> Target:
    return Target("client", client.id, client.name)
