"""Rows of first responses to requests with an Idempotency-Key header."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ostiary.core.instant import DAY
from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import answers as table

KEPT = DAY


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A first response, the hash of its request, and the caller's scopes at that time."""

    request: bytes
    scopes: tuple[str, ...]
    status: int
    body: Mapping[str, Any]


def find(tx: Tx, caller_id: str, key: str) -> StoredResponse | None:
    """Return the first response to a request. None if there is none or it is older than a day."""
    row = tx.execute(
        sa.select(table).where(
            table.c.caller_id == caller_id,
            table.c.idempotency_key == key,
            table.c.created_at > tx.now - KEPT,
        )
    ).one_or_none()
    return None if row is None else StoredResponse(bytes(row.request), row.scopes, row.status, row.body)


def keep(tx: Tx, caller_id: str, key: str, kept: StoredResponse) -> None:
    """Store a response. It replaces one that is too old to be returned."""
    row = {
        "caller_id": caller_id,
        "idempotency_key": key,
        "request": kept.request,
        "scopes": kept.scopes,
        "status": kept.status,
        "body": kept.body,
        "created_at": tx.now,
    }
    engines.upsert(tx.connection, table, [row])
