"""The `changes` table as caches read it: what became stale, with sequence numbers."""

import sqlalchemy as sa

from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import changes as table


def begin(tx: Tx) -> tuple[int, int]:
    """Where a cache that is empty begins: the last number, and the horizon of this look."""
    last = tx.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.seq), 0))).scalar_one()
    return int(last), engines.horizon(tx.connection)


def since(tx: Tx, seq: int, horizon: int) -> tuple[list[tuple[int, str, str]], int]:
    """(number, kind, id) of every change above `seq`, or that no look at `horizon` could see; and this look's horizon.

    On PostgreSQL a lower number may be committed after a higher one. A transaction takes less than an hour.
    """
    now = engines.horizon(tx.connection)
    newer = table.c.seq > seq
    late = engines.unseen(tx.connection, horizon)
    rows = tx.execute(
        sa.select(table.c.seq, table.c.kind, table.c.id)
        .where(newer if late is None else sa.or_(newer, late))
        .order_by(table.c.seq)
    )
    return [(row.seq, row.kind, row.id) for row in rows], now
