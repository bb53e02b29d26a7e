"""The `changes` table as caches read it: what became stale, with sequence numbers."""

import sqlalchemy as sa

from ostiary.core.instant import SECOND
from ostiary.storage.store import Tx
from ostiary.storage.tables import changes as table

WINDOW = 10 * SECOND
"""Changes this young are read again: on PostgreSQL a lower number may be committed after a higher one."""
KEPT = 24 * 3600 * SECOND


def since(tx: Tx, seq: int) -> list[tuple[int, str, str]]:
    """(number, kind, id) of every change above `seq`, and of the last seconds whatever their number."""
    rows = tx.execute(
        sa.select(table.c.seq, table.c.kind, table.c.id)
        .where(sa.or_(table.c.seq > seq, table.c.at > tx.now - WINDOW))
        .order_by(table.c.seq)
    )
    return [(row.seq, row.kind, row.id) for row in rows]


def last(tx: Tx) -> int:
    return int(tx.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.seq), 0))).scalar_one())


def prune(tx: Tx) -> None:
    """Forget changes that no cache can still be waiting for: a cache that was away longer starts empty."""
    tx.execute(table.delete().where(table.c.at < tx.now - KEPT))
