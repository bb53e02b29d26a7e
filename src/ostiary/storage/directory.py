"""Rows of organizations, projects and service accounts, and of the installation itself."""

from typing import Any

import sqlalchemy as sa

from ostiary.core.model import Organization, Project, ServiceAccount
from ostiary.storage import engines
from ostiary.storage.authorization_tables import grants
from ostiary.storage.store import Tx
from ostiary.storage.tables import (
    installation,
    organizations,
    projects,
    role_bindings,
    service_accounts,
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


def list_organizations(tx: Tx, only: str | None, after: str | None, limit: int) -> list[Organization]:
    """Return organizations, newest first, with ids below `after`; only the one with the id `only`, if given."""
    statement = sa.select(organizations)
    if only is not None:
        statement = statement.where(organizations.c.id == only)
    if after is not None:
        statement = statement.where(organizations.c.id < after)
    rows = tx.execute(statement.order_by(organizations.c.id.desc()).limit(limit))
    return [Organization(**row._mapping) for row in rows]


def update_organization(tx: Tx, organization_id: str, values: dict[str, Any]) -> None:
    tx.execute(organizations.update().where(organizations.c.id == organization_id).values(**values))


def find_organization(tx: Tx, name: str) -> Organization | None:
    """Return an organization by its id or slug."""
    named = sa.or_(organizations.c.id == name, organizations.c.slug == name)
    row = tx.execute(sa.select(organizations).where(named)).one_or_none()
    return None if row is None else Organization(**row._mapping)


def lock_installation(tx: Tx) -> None:
    """Let only one process at a time create the first organization."""
    engines.lock_schema(tx.connection)


def find_operator(tx: Tx) -> Organization | None:
    """Return the operator's organization, which `init` creates; None if the database is not initialised."""
    row = tx.execute(sa.select(organizations).where(organizations.c.operator)).one_or_none()
    return None if row is None else Organization(**row._mapping)


def slug_exists(tx: Tx, slug: str) -> bool:
    return tx.execute(sa.select(organizations.c.id).where(organizations.c.slug == slug)).first() is not None


def insert_project(
    tx: Tx, project_id: str, organization_id: str, code: str, name: str, description: str = ""
) -> None:
    tx.execute(
        projects.insert(),
        {
            "id": project_id,
            "organization_id": organization_id,
            "code": code,
            "name": name,
            "description": description,
            "created_at": tx.now,
        },
    )


_PROJECT = [column for column in projects.columns if column.name != "deleted_at"]


def find_project(tx: Tx, organization_id: str, name: str) -> Project | None:
    """Return a project by its id or code."""
    row = tx.execute(
        sa.select(*_PROJECT).where(
            projects.c.organization_id == organization_id,
            projects.c.deleted_at.is_(None),
            sa.or_(projects.c.id == name, projects.c.code == name),
        )
    ).one_or_none()
    return None if row is None else Project(**row._mapping)


def project_code_exists(tx: Tx, organization_id: str, code: str) -> bool:
    """Return whether the code was ever used in the organization, deleted projects included."""
    statement = sa.select(projects.c.id).where(
        projects.c.organization_id == organization_id, projects.c.code == code
    )
    return tx.execute(statement).first() is not None


def list_projects(tx: Tx, organization_id: str, after: str | None, limit: int) -> list[Project]:
    """Return projects, newest first, with ids below `after`."""
    statement = sa.select(*_PROJECT).where(
        projects.c.organization_id == organization_id, projects.c.deleted_at.is_(None)
    )
    if after is not None:
        statement = statement.where(projects.c.id < after)
    rows = tx.execute(statement.order_by(projects.c.id.desc()).limit(limit))
    return [Project(**row._mapping) for row in rows]


def update_project(tx: Tx, project_id: str, values: dict[str, Any]) -> None:
    tx.execute(projects.update().where(projects.c.id == project_id).values(**values))


def project_names(tx: Tx, organization_id: str) -> dict[str, str]:
    """Return the id for each project id and each project code of the organization."""
    rows = tx.execute(
        sa.select(projects.c.id, projects.c.code).where(
            projects.c.organization_id == organization_id, projects.c.deleted_at.is_(None)
        )
    ).all()
    names = {row.code: row.id for row in rows}
    return names | {row.id: row.id for row in rows}


_ACCOUNT = [
    column for column in service_accounts.columns if column.name not in ("deleted_at", "made_in_console")
]


def insert_service_account(tx: Tx, account: ServiceAccount, in_console: bool) -> None:
    values = {column.name: getattr(account, column.name) for column in _ACCOUNT}
    tx.execute(service_accounts.insert(), values | {"made_in_console": in_console})


def count_service_accounts(tx: Tx, organization_id: str) -> int:
    """Count the accounts that were not deleted."""
    statement = sa.select(sa.func.count()).where(
        service_accounts.c.organization_id == organization_id, service_accounts.c.deleted_at.is_(None)
    )
    return int(tx.execute(statement).scalar_one())


def count_projects(tx: Tx, organization_id: str) -> int:
    """Count the projects that were not deleted."""
    statement = sa.select(sa.func.count()).where(
        projects.c.organization_id == organization_id, projects.c.deleted_at.is_(None)
    )
    return int(tx.execute(statement).scalar_one())


def count_console_accounts(tx: Tx, organization_id: str) -> int:
    """Count the accounts that people created through a browser session and that were not deleted."""
    statement = sa.select(sa.func.count()).where(
        service_accounts.c.organization_id == organization_id,
        service_accounts.c.made_in_console,
        service_accounts.c.deleted_at.is_(None),
    )
    return int(tx.execute(statement).scalar_one())


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


def account_ids(tx: Tx, organization_id: str, *, called: str) -> list[str]:
    """Return the ids of accounts with this username or, if there are none, this display name; deleted ones included."""
    own = sa.select(service_accounts.c.id).where(service_accounts.c.organization_id == organization_id)
    for column in (service_accounts.c.username, service_accounts.c.display_name):
        found = list(tx.execute(own.where(column == called)).scalars())
        if found:
            return found
    return []


def username_exists(tx: Tx, organization_id: str, username: str) -> bool:
    """Return whether the username was ever used in the organization, deleted accounts included."""
    statement = sa.select(service_accounts.c.id).where(
        service_accounts.c.organization_id == organization_id, service_accounts.c.username == username
    )
    return tx.execute(statement).first() is not None


def list_service_accounts(
    tx: Tx,
    organization_id: str,
    username: str | None,
    after: str | None,
    limit: int,
    project_id: str | None = None,
) -> list[ServiceAccount]:
    """Return accounts, newest first, with ids below `after`. With `project_id`: those with a role or consented access
    there."""
    statement = sa.select(*_ACCOUNT).where(
        service_accounts.c.organization_id == organization_id, service_accounts.c.deleted_at.is_(None)
    )
    if username is not None:
        statement = statement.where(service_accounts.c.username == username)
    if project_id is not None:
        bound = sa.select(role_bindings.c.principal_id).where(role_bindings.c.project_id == project_id)
        # A consent's projects are one JSON text, in which each id is in quotes.
        among = sa.type_coerce(grants.c.projects, sa.Text).contains(f'"{project_id}"', autoescape=True)
        consented = sa.select(grants.c.service_account_id).where(grants.c.revoked_at.is_(None), among)
        statement = statement.where(service_accounts.c.id.in_(bound.union_all(consented)))
    if after is not None:
        statement = statement.where(service_accounts.c.id < after)
    rows = tx.execute(statement.order_by(service_accounts.c.id.desc()).limit(limit))
    return [ServiceAccount(**row._mapping) for row in rows]


def update_service_account(tx: Tx, account_id: str, values: dict[str, Any]) -> None:
    tx.execute(service_accounts.update().where(service_accounts.c.id == account_id).values(**values))


def installation_facts(tx: Tx) -> dict[str, str]:
    """Return the facts of the installation by name; empty if the database is not initialised."""
    return {row.name: row.value for row in tx.execute(sa.select(installation))}


def insert_installation_facts(tx: Tx, facts: dict[str, str]) -> None:
    for name, value in facts.items():
        tx.execute(installation.insert(), {"name": name, "value": value})
