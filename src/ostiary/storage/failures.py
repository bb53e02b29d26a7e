"""What a failure of either database means: which trouble is behind it, and what a full check finds."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ostiary.storage import tables
from ostiary.storage.troubles import Trouble

SHOWN_FAULTS = 5
"""Faults of a database that a check tells of."""
SQLITE_TROUBLES: Mapping[int, Trouble] = {10: "failing", 11: "damaged", 13: "full", 26: "damaged"}
"""By primary result code: SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_NOTADB."""
POSTGRESQL_TROUBLES: Mapping[str, Trouble] = {
    "53100": "full",
    "58030": "failing",
    "XX000": "failing",
    "XX001": "damaged",
    "XX002": "damaged",
}
"""By SQLSTATE: disk_full, io_error, internal_error, data_corrupted, index_corrupted."""
NOT_ALLOWED = "42501"
"""insufficient_privilege: the operator has taken a right from our role."""
CANNOT_OPEN = 14
"""SQLITE_CANTOPEN: a file could not be opened or made."""


def trouble(error: DBAPIError | PoolTimeoutError) -> Trouble | None:
    """What the operator has to end, if that is why the database failed."""
    code = _result_code(error)
    if code is not None:
        return SQLITE_TROUBLES.get(code)
    return POSTGRESQL_TROUBLES.get(sqlstate(error) or "")


def cannot_open(error: DBAPIError | PoolTimeoutError) -> bool:
    """Whether SQLite could not open or make one of its files."""
    return _result_code(error) == CANNOT_OPEN


def sqlstate(error: DBAPIError | PoolTimeoutError) -> str | None:
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state if isinstance(state, str) else None


def _result_code(error: DBAPIError | PoolTimeoutError) -> int | None:
    """SQLite's primary result code."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def faults(reader: sa.Engine) -> list[str]:
    """What a full check finds wrong in the database's files, at most some faults. It reads everything.

    DBAPIError where the check is ended by what it finds.
    """
    with reader.connect() as connection:
        if reader.dialect.name == "sqlite":
            found = connection.exec_driver_sql(f"PRAGMA integrity_check({SHOWN_FAULTS})").scalars().all()
            if list(found) != ["ok"]:
                return [str(each) for each in found]
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            return [
                f"row {row} of {table} refers to nothing in {parent}"
                for table, row, parent, _ in orphans[:SHOWN_FAULTS]
            ]
        # Without an index, so that each page of each table is read; the server checks them as it reads.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL enable_indexonlyscan = off")
        for table in tables.metadata.sorted_tables:
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    return []
