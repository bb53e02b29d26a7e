"""Rows of role bindings, of custom roles, and of the scope catalogue."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ostiary.core.model import Role, RoleBinding
from ostiary.core.permission import Catalogue
from ostiary.storage.store import Tx
from ostiary.storage.tables import catalogue, role_bindings, roles


def list_role_bindings(
    tx: Tx, organization_id: str, principal_ids: Sequence[str]
) -> dict[str, list[RoleBinding]]:
    """Return the bindings of these principals in the organization, by principal, organization-level bindings first."""
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
        insert_role_binding(tx, organization_id, principal_id, binding)


def insert_role_binding(tx: Tx, organization_id: str, principal_id: str, binding: RoleBinding) -> None:
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


def list_project_bindings(tx: Tx, project_id: str) -> list[tuple[str, RoleBinding]]:
    """Return (principal id, binding) of all roles on the project, in order of creation."""
    rows = tx.execute(
        sa.select(role_bindings).where(role_bindings.c.project_id == project_id).order_by(role_bindings.c.id)
    )
    return [(row.principal_id, RoleBinding(row.role, row.project_id)) for row in rows]


def delete_bindings_of_project(tx: Tx, project_id: str) -> None:
    tx.execute(role_bindings.delete().where(role_bindings.c.project_id == project_id))


def delete_bindings_of_role(tx: Tx, organization_id: str, role: str) -> int:
    """Delete all bindings of a role in the organization. Return their number."""
    return tx.execute(
        role_bindings.delete().where(
            role_bindings.c.organization_id == organization_id, role_bindings.c.role == role
        )
    ).rowcount


def insert_role(tx: Tx, organization_id: str, role: Role) -> None:
    tx.catalogues.clear()
    tx.execute(
        roles.insert(),
        {
            "id": role.id,
            "organization_id": organization_id,
            "name": role.name,
            "description": role.description,
            "scopes": role.scopes,
            "created_at": tx.now,
        },
    )


def list_roles(tx: Tx, organization_id: str) -> list[Role]:
    """Return the organization's custom roles, in order of creation."""
    rows = tx.execute(sa.select(roles).where(roles.c.organization_id == organization_id).order_by(roles.c.id))
    return [Role(row.id, row.name, row.description, row.scopes) for row in rows]


def update_role(tx: Tx, role_id: str, values: dict[str, Any]) -> None:
    tx.catalogues.clear()
    tx.execute(roles.update().where(roles.c.id == role_id).values(**values))


def delete_role(tx: Tx, role_id: str) -> None:
    tx.catalogues.clear()
    tx.execute(roles.delete().where(roles.c.id == role_id))


def delete_scope(tx: Tx, scope: str) -> None:
    tx.catalogues.clear()
    tx.execute(catalogue.delete().where(catalogue.c.scope == scope))


def catalogue_of(tx: Tx, organization_id: str) -> Catalogue:
    """Return the installation's scopes with the organization's custom roles. Read once a transaction, until one changes."""
    found = tx.catalogues.get(organization_id)
    if found is None:
        own = sa.select(roles.c.id, roles.c.name, roles.c.scopes).where(
            roles.c.organization_id == organization_id
        )
        scopes = sa.select(sa.null(), catalogue.c.scope, sa.null())
        rows = tx.execute(own.union_all(scopes)).all()
        found = Catalogue(
            frozenset(row.name for row in rows if row.id is None),
            {row.name: frozenset(row.scopes) for row in rows if row.id is not None},
        )
        tx.catalogues[organization_id] = found
    return found


def scopes_of_catalogue(tx: Tx) -> frozenset[str]:
    return frozenset(tx.execute(sa.select(catalogue.c.scope)).scalars())


def insert_scopes(tx: Tx, scopes: Sequence[str]) -> None:
    tx.catalogues.clear()
    for scope in scopes:
        tx.execute(catalogue.insert(), {"scope": scope, "created_at": tx.now})
