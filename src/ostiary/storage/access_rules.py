"""Rows of access rules. Each is a JSON document that `services.access_rules` has validated."""

from typing import Any

import sqlalchemy as sa

from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import access_rules as table


def put(tx: Tx, name: str, rule: dict[str, Any]) -> None:
    engines.upsert(tx.connection, table, [{"name": name, "rule": rule, "updated_at": tx.now}])


def find(tx: Tx, name: str) -> dict[str, Any] | None:
    return tx.execute(sa.select(table.c.rule).where(table.c.name == name)).scalar_one_or_none()


def list_all(tx: Tx) -> dict[str, dict[str, Any]]:
    """Return all rules by name, in order of name."""
    return {row.name: row.rule for row in tx.execute(sa.select(table).order_by(table.c.name))}


def delete(tx: Tx, name: str) -> bool:
    return tx.execute(table.delete().where(table.c.name == name)).rowcount == 1
