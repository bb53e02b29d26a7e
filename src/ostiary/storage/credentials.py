"""Rows of credentials, of the secrets behind them, and of their use; `find_standing` for verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ostiary.core.address import parse_network
from ostiary.core.instant import Instant
from ostiary.core.model import Credential, Grant, Organization, Principal, Standing
from ostiary.core.permission import Catalogue
from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import (
    credential_uses,
    credentials,
    generations,
    members,
    organizations,
    role_bindings,
    roles,
    service_accounts,
    users,
)

_CREDENTIAL = sa.select(
    credentials,
    generations.c.access_id,
    generations.c.prefix,
    generations.c.last6,
    credential_uses.c.last_used_at,
).select_from(
    credentials.join(generations, generations.c.credential_id == credentials.c.id).outerjoin(
        credential_uses, credential_uses.c.credential_id == credentials.c.id
    )
)


def insert(tx: Tx, credential: Credential, digest: bytes, pepper_id: str) -> None:
    tx.execute(
        credentials.insert(),
        {column.name: getattr(credential, column.name) for column in credentials.columns},
    )
    tx.execute(
        generations.insert(),
        {
            "access_id": credential.access_id,
            "credential_id": credential.id,
            "prefix": credential.prefix,
            "last6": credential.last6,
            "digest": digest,
            "pepper_id": pepper_id,
            "created_at": credential.created_at,
        },
    )


def find(tx: Tx, organization_id: str, credential_id: str) -> Credential | None:
    row = tx.execute(
        _CREDENTIAL.where(credentials.c.organization_id == organization_id, credentials.c.id == credential_id)
    ).one_or_none()
    return None if row is None else Credential(**row._mapping)


def list_page(
    tx: Tx,
    organization_id: str,
    owner_id: str | None,
    owner_kind: str | None,
    after: str | None,
    limit: int,
) -> list[Credential]:
    """Credentials of the organization, or of one owner, newest first, below the id `after`."""
    statement = _CREDENTIAL.where(credentials.c.organization_id == organization_id)
    if owner_id is not None:
        statement = statement.where(credentials.c.owner_id == owner_id)
    if owner_kind is not None:
        statement = statement.where(credentials.c.owner_kind == owner_kind)
    if after is not None:
        statement = statement.where(credentials.c.id < after)
    rows = tx.execute(statement.order_by(credentials.c.id.desc()).limit(limit))
    return [Credential(**row._mapping) for row in rows]


def owner_names(tx: Tx, organization_id: str, owner_ids: Sequence[str]) -> dict[str, str]:
    """Display names of accounts (deleted ones too) and emails of users, by id."""
    accounts = sa.select(service_accounts.c.id, service_accounts.c.display_name.label("name")).where(
        service_accounts.c.organization_id == organization_id, service_accounts.c.id.in_(owner_ids)
    )
    people = sa.select(users.c.id, users.c.email.label("name")).where(users.c.id.in_(owner_ids))
    return {row.id: row.name for row in tx.execute(accounts.union_all(people))}


def count(tx: Tx, organization_id: str, owner_id: str | None = None) -> int:
    """Credentials that count toward limits: active, deactivated and expired ones, not revoked ones."""
    statement = sa.select(sa.func.count()).where(
        credentials.c.organization_id == organization_id, credentials.c.revoked_at.is_(None)
    )
    if owner_id is not None:
        statement = statement.where(credentials.c.owner_id == owner_id)
    return int(tx.execute(statement).scalar_one())


def update(tx: Tx, credential_id: str, values: Mapping[str, Any]) -> None:
    tx.execute(credentials.update().where(credentials.c.id == credential_id).values(**values))


def revoke_all_of(tx: Tx, organization_id: str, owner_id: str) -> list[tuple[str, str, str]]:
    """Revoke what an owner has in the organization; id, name and last 6 of those that were not revoked before."""
    return _revoke_where(tx, organization_id, credentials.c.owner_id == owner_id)


def revoke_bound_to(tx: Tx, organization_id: str, project_id: str) -> list[tuple[str, str, str]]:
    """Revoke what is bound to a project, likewise."""
    return _revoke_where(tx, organization_id, credentials.c.project_id == project_id)


def _revoke_where(tx: Tx, organization_id: str, which: sa.ColumnElement[bool]) -> list[tuple[str, str, str]]:
    condition = (credentials.c.organization_id == organization_id, credentials.c.revoked_at.is_(None), which)
    found = tx.execute(_CREDENTIAL.where(*condition).order_by(credentials.c.id)).all()
    tx.execute(credentials.update().where(*condition).values(revoked_at=tx.now))
    return [(row.id, row.name, row.last6) for row in found]


def delete(tx: Tx, credential_id: str) -> None:
    """Remove the row for good, with its digests and its use."""
    tx.execute(credentials.delete().where(credentials.c.id == credential_id))
    tx.execute(credential_uses.delete().where(credential_uses.c.credential_id == credential_id))


def add_uses(tx: Tx, uses: Sequence[tuple[str, Instant, int]]) -> None:
    """Batch: (credential id, last use, number of uses) added to what is there."""
    engines.upsert(
        tx.connection,
        credential_uses,
        [{"credential_id": each, "last_used_at": last, "uses": number} for each, last, number in uses],
        add=("uses",),
        latest=("last_used_at",),
    )


_STANDING = (
    sa.select(
        credentials.c.id,
        credentials.c.kind,
        credentials.c.name,
        credentials.c.owner_kind,
        credentials.c.owner_id,
        credentials.c.access_level,
        credentials.c.scopes,
        credentials.c.resources,
        credentials.c.allowed_ips,
        credentials.c.project_id,
        credentials.c.expires_at,
        credentials.c.deactivated_at,
        credentials.c.revoked_at,
        generations.c.last6,
        generations.c.digest,
        generations.c.pepper_id,
        organizations.c.id.label("organization_id"),
        organizations.c.slug,
        organizations.c.name.label("organization_name"),
        organizations.c.operator,
        organizations.c.created_at.label("organization_created_at"),
        organizations.c.suspended_at,
        service_accounts.c.display_name,
        service_accounts.c.username,
        service_accounts.c.access_level.label("account_access_level"),
        service_accounts.c.scopes.label("account_scopes"),
        service_accounts.c.resources.label("account_resources"),
        service_accounts.c.disabled_at.label("account_disabled_at"),
        service_accounts.c.deleted_at.label("account_deleted_at"),
        users.c.email,
        users.c.disabled_at.label("user_disabled_at"),
        members.c.user_id.label("member_id"),
        role_bindings.c.role,
        role_bindings.c.project_id.label("role_project_id"),
        roles.c.scopes.label("role_scopes"),
    )
    .select_from(generations)
    .join(credentials, credentials.c.id == generations.c.credential_id)
    .join(organizations, organizations.c.id == credentials.c.organization_id)
    .outerjoin(service_accounts, service_accounts.c.id == credentials.c.owner_id)
    .outerjoin(users, users.c.id == credentials.c.owner_id)
    .outerjoin(
        members,
        sa.and_(
            members.c.user_id == credentials.c.owner_id,
            members.c.organization_id == credentials.c.organization_id,
        ),
    )
    .outerjoin(
        role_bindings,
        sa.and_(
            role_bindings.c.principal_id == credentials.c.owner_id,
            role_bindings.c.organization_id == credentials.c.organization_id,
        ),
    )
    .outerjoin(
        roles,
        sa.and_(
            roles.c.organization_id == role_bindings.c.organization_id,
            roles.c.name == role_bindings.c.role,
        ),
    )
)
_BY_ACCESS_ID = _STANDING.where(generations.c.access_id == sa.bindparam("access_id"))
_BY_ID = _STANDING.where(credentials.c.id == sa.bindparam("credential_id"))


def find_standing(tx: Tx, access_id: str, catalogue: Catalogue) -> Standing | None:
    """Every fact that a verdict on this credential reads, in one SELECT; None for an access id nobody has."""
    return _standing(tx.execute(_BY_ACCESS_ID, {"access_id": access_id}).all(), catalogue)


def find_standing_of(tx: Tx, credential_id: str, catalogue: Catalogue) -> Standing | None:
    """The same by the credential's id, for whoever presented it before."""
    return _standing(tx.execute(_BY_ID, {"credential_id": credential_id}).all(), catalogue)


def _standing(rows: Sequence[sa.Row[Any]], catalogue: Catalogue) -> Standing | None:
    if not rows:
        return None
    row = rows[0]
    if row.owner_kind == "service_account":
        principal = Principal(
            kind="service_account",
            id=row.owner_id,
            display=row.display_name,
            username=row.username,
            barred=row.account_disabled_at is not None or row.account_deleted_at is not None,
            access_level=row.account_access_level,
            scopes=row.account_scopes,
            resources=row.account_resources,
        )
    else:
        principal = Principal(
            kind="user",
            id=row.owner_id,
            display=row.email,
            username=None,
            barred=row.member_id is None or row.user_disabled_at is not None,
        )
    return Standing(
        credential_id=row.id,
        kind=row.kind,
        name=row.name,
        last6=row.last6,
        digest=bytes(row.digest),
        pepper_id=row.pepper_id,
        deactivated_at=row.deactivated_at,
        revoked_at=row.revoked_at,
        expires_at=row.expires_at,
        networks=tuple(parse_network(text) for text in row.allowed_ips),
        access_level=row.access_level,
        scopes=row.scopes,
        resources=row.resources,
        project_id=row.project_id,
        principal=principal,
        grants=tuple(
            Grant(
                catalogue.granted(each.role_scopes) if each.role_scopes else catalogue.role(each.role),
                each.role_project_id,
            )
            for each in rows
            if each.role is not None
        ),
        organization=Organization(
            id=row.organization_id,
            slug=row.slug,
            name=row.organization_name,
            operator=row.operator,
            created_at=row.organization_created_at,
            suspended_at=row.suspended_at,
        ),
    )
