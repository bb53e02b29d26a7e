"""The `changes` table, which tells caches what became stale. Rows are numbered."""

import sqlalchemy as sa

from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import changes as table


def begin(tx: Tx) -> tuple[int, int]:
    """Return the starting point of an empty cache: the last number, and the current horizon."""
    last = tx.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.seq), 0))).scalar_one()
    return int(last), engines.horizon(tx.connection)


def since(tx: Tx, seq: int, horizon: int) -> tuple[list[tuple[int, str, str]], int]:
    """Return (number, kind, id) of each change above `seq` or not yet visible at `horizon`, and the current horizon.

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
