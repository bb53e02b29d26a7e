"""Rows of policies: where an organization's limits differ from the installation's."""

from typing import Any

import sqlalchemy as sa

from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import policies as table


def find(tx: Tx, organization_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the limits that the organization chose, and the ceilings that the operator set for it, each by name of
    limit."""
    row = tx.execute(sa.select(table).where(table.c.organization_id == organization_id)).one_or_none()
    return ({}, {}) if row is None else (row.document, row.ceilings)


def put(tx: Tx, organization_id: str, document: dict[str, Any], ceilings: dict[str, Any]) -> None:
    engines.upsert(
        tx.connection,
        table,
        [{"organization_id": organization_id, "document": document, "ceilings": ceilings}],
    )
