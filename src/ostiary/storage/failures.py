"""What a failure of either database means: for the transaction, the caller and the operator; what a full check finds."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ostiary.core.problem import Problem
from ostiary.storage import causes, tables, wire
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


def may_retry(error: DBAPIError) -> bool:
    """Whether the same transaction, not yet committed, may succeed if it is run again now. Not if the server is silent.

    So may one that made what another had just made (23505): people and documents' clients belong to no organization
    that it is the only writer of. It sees that now.
    """
    if isinstance(error.orig, wire.SilentError):
        return False
    return error.connection_invalidated or sqlstate(error) in {"23505", "40001", "40P01", "57P01"}


def problem(error: DBAPIError | PoolTimeoutError, met: Trouble | None) -> Problem:
    """What a caller may know of a database error, and of the trouble behind it."""
    why = reason(error, met)
    if isinstance(error, PoolTimeoutError):
        return Problem("unavailable", "The database is busy; try again.", reason=why)
    if met == "full":
        return Problem(
            "storage-full",
            "The disk of the database is full; nothing was changed. The operator has to make room.",
            reason=why,
        )
    return Problem(
        "unavailable", "The database did not answer; nothing was acknowledged. Try again.", reason=why
    )


def reason(error: DBAPIError | PoolTimeoutError, met: Trouble | None) -> str:
    """The class of a database error in few words. Its text may hold values, so nothing of that is kept."""
    if isinstance(error, PoolTimeoutError):
        return "pool time-out"
    if met is not None:
        return {"full": "disk full", "damaged": "database damaged", "failing": "disk failing"}[met]
    cause = causes.find(error.orig)
    if cause is not None:
        return cause.words
    return f"{type(error.orig).__name__} {sqlstate(error) or ''}".strip()


def advice(error: BaseException | None) -> str | None:
    """What an operator should know of a database error, or of the Problem that was made of one; None if no more is known."""
    if isinstance(error, Problem):
        error = error.__cause__
    cause = causes.find(error.orig) if isinstance(error, DBAPIError) else None
    return None if cause is None else cause.advice


def is_outage(error: DBAPIError) -> bool:
    """Whether the database could not do it now, rather than would never do it (a fault of ours)."""
    state = sqlstate(error) or ""
    if error.connection_invalidated or trouble(error) is not None or state == NOT_ALLOWED:
        return True
    if state[:2] in {"08", "28", "53", "57", "58", "40", "55", "25", "XX"}:
        return True
    text = str(error.orig).lower()
    return isinstance(error, OperationalError) and not ("no such" in text or "syntax" in text)


def wrapped(error: Any, dialect: sa.Dialect, lost: bool = False) -> DBAPIError:
    """An error of the driver as SQLAlchemy raises it."""
    found = DBAPIError.instance(
        None,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=dialect,
    )
    assert isinstance(found, DBAPIError)
    return found


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
