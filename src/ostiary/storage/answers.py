"""Rows of first answers to requests that carry an Idempotency-Key."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ostiary.core.instant import DAY
from ostiary.storage.store import Tx
from ostiary.storage.tables import answers as table

KEPT = DAY


def find(tx: Tx, caller_id: str, key: str) -> tuple[bytes, int, dict[str, Any]] | None:
    """The request's hash, and the status and body of its first answer; None after a day."""
    row = tx.execute(
        sa.select(table).where(
            table.c.caller_id == caller_id,
            table.c.idempotency_key == key,
            table.c.created_at > tx.now - KEPT,
        )
    ).one_or_none()
    return None if row is None else (bytes(row.request), row.status, row.body)


def keep(tx: Tx, caller_id: str, key: str, request: bytes, status: int, body: Mapping[str, Any]) -> None:
    """Keep an answer, in place of one that is too old to be given again."""
    tx.execute(table.delete().where(table.c.caller_id == caller_id, table.c.idempotency_key == key))
    tx.execute(
        table.insert(),
        {
            "caller_id": caller_id,
            "idempotency_key": key,
            "request": request,
            "status": status,
            "body": body,
            "created_at": tx.now,
        },
    )
