"""Rows of usage: how often credentials were accepted and refused, per hour.

Each number is stored once under each subject that it can be queried by: organization, account, credential. So a query
reads only its own rows, and the numbers of a deleted credential remain with its account.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from ostiary.core.instant import DAY, Instant
from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import usage as table

KEPT = 90 * DAY

Place = tuple[str, str, Instant, str, str]
"""Organization, subject (the id of the organization, an account or a credential), hour, outcome, via."""


def add(tx: Tx, numbers: Mapping[Place, int]) -> None:
    """Add these numbers to the stored ones, in one batch."""
    if numbers:
        names = ("organization_id", "subject_id", "hour", "outcome", "via")
        rows = [dict(zip(names, place, strict=True), number=number) for place, number in numbers.items()]
        engines.upsert(tx.connection, table, rows, add=("number",))


def by_time(
    tx: Tx, organization_id: str, subject_id: str, since: Instant, until: Instant, length: int
) -> list[tuple[Instant, str, int]]:
    """Return (beginning, outcome, number) for each period of this length. The length must divide a day, or be one."""
    # Not a parameter: PostgreSQL would not recognise the selected expression as the one in GROUP BY.
    size = sa.literal_column(str(length), sa.BigInteger)
    begins = (table.c.hour - table.c.hour % size).label("begins")
    statement = sa.select(begins, table.c.outcome, sa.func.sum(table.c.number).label("number"))
    rows = tx.execute(
        _within(statement, organization_id, subject_id, since, until).group_by(begins, table.c.outcome)
    )
    return [(int(row.begins), row.outcome, int(row.number)) for row in rows]


def by_via(
    tx: Tx, organization_id: str, subject_id: str, since: Instant, until: Instant
) -> list[tuple[str, int]]:
    """Return (via, number) for the whole period."""
    statement = sa.select(table.c.via, sa.func.sum(table.c.number).label("number"))
    found = _within(statement, organization_id, subject_id, since, until).group_by(table.c.via)
    return [(row.via, int(row.number)) for row in tx.execute(found)]


def _within(
    statement: "sa.Select[tuple[object, ...]]",
    organization_id: str,
    subject_id: str,
    since: Instant,
    until: Instant,
) -> "sa.Select[tuple[object, ...]]":
    return statement.where(
        table.c.organization_id == organization_id,
        table.c.subject_id == subject_id,
        table.c.hour >= since,
        table.c.hour < until,
    )
