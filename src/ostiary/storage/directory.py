"""Rows of organizations, projects, members, service accounts and role bindings."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ostiary.core.model import Organization, RoleBinding, ServiceAccount
from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import (
    catalogue,
    installation,
    members,
    organizations,
    projects,
    role_bindings,
    service_accounts,
    users,
)


def insert_organization(tx: Tx, organization: Organization) -> None:
    tx.execute(
        organizations.insert(),
        {
            "id": organization.id,
            "slug": organization.slug,
            "name": organization.name,
            "operator": organization.operator,
            "created_at": organization.created_at,
            "suspended_at": organization.suspended_at,
        },
    )


def find_organization(tx: Tx, organization_id: str) -> Organization | None:
    row = tx.execute(sa.select(organizations).where(organizations.c.id == organization_id)).one_or_none()
    return None if row is None else Organization(**row._mapping)


def lock_installation(tx: Tx) -> None:
    """Be the only one that makes the first organization."""
    engines.lock_schema(tx.connection)


def find_operator(tx: Tx) -> Organization | None:
    """The operator's organization, which `init` made; None on a database that was not initialised."""
    row = tx.execute(sa.select(organizations).where(organizations.c.operator)).one_or_none()
    return None if row is None else Organization(**row._mapping)


def slug_exists(tx: Tx, slug: str) -> bool:
    return tx.execute(sa.select(organizations.c.id).where(organizations.c.slug == slug)).first() is not None


def insert_project(tx: Tx, project_id: str, organization_id: str, code: str, name: str) -> None:
    tx.execute(
        projects.insert(),
        {
            "id": project_id,
            "organization_id": organization_id,
            "code": code,
            "name": name,
            "created_at": tx.now,
        },
    )


def project_names(tx: Tx, organization_id: str) -> dict[str, str]:
    """Every id and every code of the organization's projects, each with the id it means."""
    rows = tx.execute(
        sa.select(projects.c.id, projects.c.code).where(projects.c.organization_id == organization_id)
    ).all()
    names = {row.code: row.id for row in rows}
    return names | {row.id: row.id for row in rows}


def insert_user(tx: Tx, user_id: str, email: str, password_hash: str | None) -> None:
    tx.execute(
        users.insert(),
        {"id": user_id, "email": email, "password_hash": password_hash, "created_at": tx.now},
    )


def set_password(tx: Tx, user_id: str, password_hash: str) -> None:
    tx.execute(users.update().where(users.c.id == user_id).values(password_hash=password_hash))


def insert_member(tx: Tx, organization_id: str, user_id: str) -> None:
    tx.execute(
        members.insert(), {"organization_id": organization_id, "user_id": user_id, "created_at": tx.now}
    )


def delete_member(tx: Tx, organization_id: str, user_id: str) -> None:
    tx.execute(
        members.delete().where(members.c.organization_id == organization_id, members.c.user_id == user_id)
    )


def find_member(tx: Tx, organization_id: str, user_id: str) -> str | None:
    """The email of a user who is a member of the organization and not disabled."""
    row = tx.execute(
        sa.select(users.c.email)
        .join(members, members.c.user_id == users.c.id)
        .where(
            members.c.organization_id == organization_id,
            users.c.id == user_id,
            users.c.disabled_at.is_(None),
        )
    ).one_or_none()
    return None if row is None else row.email


def first_admin(tx: Tx, organization_id: str) -> tuple[str, str] | None:
    """Id and email of the organization's longest-standing admin."""
    row = tx.execute(
        sa.select(users.c.id, users.c.email)
        .join(members, members.c.user_id == users.c.id)
        .join(role_bindings, role_bindings.c.principal_id == users.c.id)
        .where(
            members.c.organization_id == organization_id,
            role_bindings.c.organization_id == organization_id,
            role_bindings.c.role == "organization-admin",
            role_bindings.c.project_id.is_(None),
        )
        .order_by(role_bindings.c.id)
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.id, row.email)


_ACCOUNT = [column for column in service_accounts.columns if column.name != "deleted_at"]


def insert_service_account(tx: Tx, account: ServiceAccount) -> None:
    tx.execute(
        service_accounts.insert(),
        {column.name: getattr(account, column.name) for column in _ACCOUNT},
    )


def find_service_account(tx: Tx, organization_id: str, account_id: str) -> ServiceAccount | None:
    return _one_account(tx, organization_id, service_accounts.c.id == account_id)


def find_service_account_by_username(tx: Tx, organization_id: str, username: str) -> ServiceAccount | None:
    return _one_account(tx, organization_id, service_accounts.c.username == username)


def _one_account(tx: Tx, organization_id: str, condition: sa.ColumnElement[bool]) -> ServiceAccount | None:
    row = tx.execute(
        sa.select(*_ACCOUNT).where(
            service_accounts.c.organization_id == organization_id,
            service_accounts.c.deleted_at.is_(None),
            condition,
        )
    ).one_or_none()
    return None if row is None else ServiceAccount(**row._mapping)


def username_exists(tx: Tx, organization_id: str, username: str) -> bool:
    """Whether the username was ever given out in the organization, deleted accounts included."""
    statement = sa.select(service_accounts.c.id).where(
        service_accounts.c.organization_id == organization_id, service_accounts.c.username == username
    )
    return tx.execute(statement).first() is not None


def list_service_accounts(
    tx: Tx, organization_id: str, username: str | None, after: str | None, limit: int
) -> list[ServiceAccount]:
    """Accounts, newest first, below the id `after`."""
    statement = sa.select(*_ACCOUNT).where(
        service_accounts.c.organization_id == organization_id, service_accounts.c.deleted_at.is_(None)
    )
    if username is not None:
        statement = statement.where(service_accounts.c.username == username)
    if after is not None:
        statement = statement.where(service_accounts.c.id < after)
    rows = tx.execute(statement.order_by(service_accounts.c.id.desc()).limit(limit))
    return [ServiceAccount(**row._mapping) for row in rows]


def update_service_account(tx: Tx, account_id: str, values: dict[str, Any]) -> None:
    tx.execute(service_accounts.update().where(service_accounts.c.id == account_id).values(**values))


def list_role_bindings(
    tx: Tx, organization_id: str, principal_ids: Sequence[str]
) -> dict[str, list[RoleBinding]]:
    """Bindings of these principals in the organization, by principal, those on the organization first."""
    found: dict[str, list[RoleBinding]] = {principal_id: [] for principal_id in principal_ids}
    rows = tx.execute(
        sa.select(role_bindings).where(
            role_bindings.c.organization_id == organization_id,
            role_bindings.c.principal_id.in_(principal_ids),
        )
    )
    for row in rows:
        found[row.principal_id].append(RoleBinding(row.role, row.project_id))
    for bindings in found.values():
        bindings.sort(key=lambda each: (each.project_id or "", each.role))
    return found


def replace_role_bindings(
    tx: Tx, organization_id: str, principal_id: str, bindings: Sequence[RoleBinding]
) -> None:
    tx.execute(
        role_bindings.delete().where(
            role_bindings.c.organization_id == organization_id, role_bindings.c.principal_id == principal_id
        )
    )
    for binding in bindings:
        tx.execute(
            role_bindings.insert(),
            {
                "id": tx.new_id("rb"),
                "organization_id": organization_id,
                "principal_id": principal_id,
                "role": binding.role,
                "project_id": binding.project_id,
                "created_at": tx.now,
            },
        )


def scopes_of_catalogue(tx: Tx) -> frozenset[str]:
    return frozenset(tx.execute(sa.select(catalogue.c.scope)).scalars())


def insert_scopes(tx: Tx, scopes: Sequence[str]) -> None:
    for scope in scopes:
        tx.execute(catalogue.insert(), {"scope": scope, "created_at": tx.now})


def installation_facts(tx: Tx) -> dict[str, str]:
    """Facts of the installation by name; empty on a database that was not initialised."""
    return {row.name: row.value for row in tx.execute(sa.select(installation))}


def insert_installation_facts(tx: Tx, facts: dict[str, str]) -> None:
    for name, value in facts.items():
        tx.execute(installation.insert(), {"name": name, "value": value})
