"""Rows of credentials. Their secrets are in `generations`; the facts that verdicts read are in `standing_queries`."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ostiary.core.model import EVERY_CREDENTIAL, Credential, CredentialFilter, CredentialStatus, Overlap
from ostiary.storage import generations as generation_rows
from ostiary.storage.store import Tx
from ostiary.storage.tables import credentials, generation_uses, generations, service_accounts, users

_OLD = generations.alias("old")
_LAST_USED = (
    sa.select(sa.func.max(generation_uses.c.last_used_at))
    .where(generation_uses.c.credential_id == credentials.c.id)
    .scalar_subquery()
)
# Each credential with its current secret and, during a rotation, the previous one that is still accepted.
_CREDENTIAL = sa.select(
    credentials,
    generations.c.access_id,
    generations.c.prefix,
    generations.c.last6,
    generations.c.number.label("generation"),
    generations.c.created_at.label("secret_created_at"),
    _LAST_USED.label("last_used_at"),
    _OLD.c.access_id.label("old_access_id"),
    _OLD.c.last6.label("old_last6"),
    _OLD.c.ends_at.label("old_ends_at"),
).select_from(
    credentials.join(
        generations,
        sa.and_(generations.c.credential_id == credentials.c.id, generations.c.superseded_at.is_(None)),
    ).outerjoin(
        _OLD,
        sa.and_(
            _OLD.c.credential_id == credentials.c.id,
            _OLD.c.superseded_at.is_not(None),
            _OLD.c.ended_at.is_(None),
            sa.or_(_OLD.c.ends_at.is_(None), _OLD.c.ends_at > sa.bindparam("now")),
        ),
    )
)


def _credential(row: sa.Row[Any]) -> Credential:
    values = dict(row._mapping)
    access_id, last6, ends_at = (values.pop(f"old_{name}") for name in ("access_id", "last6", "ends_at"))
    return Credential(**values, overlap=None if access_id is None else Overlap(last6, ends_at))


def insert(
    tx: Tx, credential: Credential, digest: bytes, pepper_id: str, public_key: bytes | None = None
) -> None:
    """Insert a credential and its first secret."""
    tx.execute(
        credentials.insert(),
        {column.name: getattr(credential, column.name) for column in credentials.columns},
    )
    generation_rows.insert(tx, credential, digest, pepper_id, public_key)


def find(tx: Tx, organization_id: str, credential_id: str) -> Credential | None:
    row = tx.execute(
        _CREDENTIAL.where(
            credentials.c.organization_id == organization_id, credentials.c.id == credential_id
        ),
        {"now": tx.now},
    ).one_or_none()
    return None if row is None else _credential(row)


def list_page(
    tx: Tx,
    organization_id: str,
    owner_id: str | None,
    after: str | None,
    limit: int,
    wanted: CredentialFilter = EVERY_CREDENTIAL,
) -> list[Credential]:
    """Return matching credentials of the organization or of one owner, newest first, with ids below `after`."""
    statement = _CREDENTIAL.where(credentials.c.organization_id == organization_id)
    if owner_id is not None:
        statement = statement.where(credentials.c.owner_id == owner_id)
    statement = statement.where(*_conditions(tx, wanted))
    if after is not None:
        statement = statement.where(credentials.c.id < after)
    rows = tx.execute(statement.order_by(credentials.c.id.desc()).limit(limit), {"now": tx.now})
    return [_credential(row) for row in rows]


def _conditions(tx: Tx, wanted: CredentialFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.kind is not None:
        found.append(credentials.c.kind == wanted.kind)
    if wanted.status is not None:
        found.append(_has_status(tx, wanted.status))
    if wanted.search is not None:
        found.append(_matches(wanted.search))
    if wanted.expires_before is not None:
        found.append(credentials.c.expires_at < wanted.expires_before)
    if wanted.unused_since is not None:
        found.append(credentials.c.created_at < wanted.unused_since)
        found.append(sa.func.coalesce(_LAST_USED, 0) < wanted.unused_since)
    return found


def _has_status(tx: Tx, status: CredentialStatus) -> sa.ColumnElement[bool]:
    """`model.credential_status` in SQL."""
    revoked = credentials.c.revoked_at.is_not(None)
    expired = sa.func.coalesce(credentials.c.expires_at, tx.now + 1) <= tx.now
    deactivated = credentials.c.deactivated_at.is_not(None)
    match status:
        case "revoked":
            return revoked
        case "expired":
            return sa.and_(~revoked, expired)
        case "deactivated":
            return sa.and_(~revoked, ~expired, deactivated)
        case "active":
            return sa.and_(~revoked, ~expired, ~deactivated)


def _matches(search: str) -> sa.ColumnElement[bool]:
    """Return a condition: the text is part of the name or the owner's name, or is the id or the last six characters."""
    accounts = sa.select(service_accounts.c.id).where(
        sa.or_(
            service_accounts.c.display_name.icontains(search, autoescape=True),
            service_accounts.c.username.icontains(search, autoescape=True),
        )
    )
    people = sa.select(users.c.id).where(users.c.email.icontains(search, autoescape=True))
    return sa.or_(
        credentials.c.name.icontains(search, autoescape=True),
        credentials.c.id == search,
        generations.c.last6 == search,
        credentials.c.owner_id.in_(accounts.union_all(people)),
    )


def owner_names(tx: Tx, organization_id: str, owner_ids: Sequence[str]) -> dict[str, str]:
    """Return display names of accounts (including deleted ones) and emails of users, by id."""
    accounts = sa.select(service_accounts.c.id, service_accounts.c.display_name.label("name")).where(
        service_accounts.c.organization_id == organization_id, service_accounts.c.id.in_(owner_ids)
    )
    people = sa.select(users.c.id, users.c.email.label("name")).where(users.c.id.in_(owner_ids))
    return {row.id: row.name for row in tx.execute(accounts.union_all(people))}


def count(tx: Tx, organization_id: str, owner_id: str | None = None) -> int:
    """Count the credentials that use up limits: active, deactivated and expired ones, but not revoked ones."""
    statement = sa.select(sa.func.count()).where(
        credentials.c.organization_id == organization_id, credentials.c.revoked_at.is_(None)
    )
    if owner_id is not None:
        statement = statement.where(credentials.c.owner_id == owner_id)
    return int(tx.execute(statement).scalar_one())


def update(tx: Tx, credential_id: str, values: Mapping[str, Any]) -> None:
    tx.execute(credentials.update().where(credentials.c.id == credential_id).values(**values))


def revoke_all_of(tx: Tx, organization_id: str, owner_id: str) -> list[tuple[str, str, str]]:
    """Revoke the owner's credentials in the organization. Return (id, name, last 6) of those not revoked before."""
    return _revoke_where(tx, organization_id, credentials.c.owner_id == owner_id)


def revoke_bound_to(tx: Tx, organization_id: str, project_id: str) -> list[tuple[str, str, str]]:
    """Revoke the credentials that are bound to a project. Return (id, name, last 6) of those not revoked before."""
    return _revoke_where(tx, organization_id, credentials.c.project_id == project_id)


def _revoke_where(tx: Tx, organization_id: str, which: sa.ColumnElement[bool]) -> list[tuple[str, str, str]]:
    condition = (credentials.c.organization_id == organization_id, credentials.c.revoked_at.is_(None), which)
    found = tx.execute(_CREDENTIAL.where(*condition).order_by(credentials.c.id), {"now": tx.now}).all()
    tx.execute(credentials.update().where(*condition).values(revoked_at=tx.now))
    return [(row.id, row.name, row.last6) for row in found]


def has_younger(tx: Tx, credential: Credential) -> bool:
    """Return whether the owner has a newer usable credential of the same kind."""
    statement = sa.select(credentials.c.id).where(
        credentials.c.organization_id == credential.organization_id,
        credentials.c.owner_id == credential.owner_id,
        credentials.c.kind == credential.kind,
        credentials.c.id != credential.id,
        credentials.c.created_at > credential.created_at,
        credentials.c.revoked_at.is_(None),
        credentials.c.deactivated_at.is_(None),
        sa.or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > tx.now),
    )
    return tx.execute(statement.limit(1)).first() is not None


def delete(tx: Tx, credential_id: str) -> None:
    """Delete the row permanently, with its secrets and their usage."""
    tx.execute(credentials.delete().where(credentials.c.id == credential_id))
    tx.execute(generation_uses.delete().where(generation_uses.c.credential_id == credential_id))
