"""Errors of both databases, translated for the transaction, the caller and the operator; and a check of the whole
database."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ostiary.core.problem import Problem
from ostiary.storage import causes, patience, tables
from ostiary.storage.troubles import Trouble

SHOWN_FAULTS = 5
"""The number of faults that a check reports."""
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
"""insufficient_privilege: the operator has revoked a privilege of our database user."""
CANNOT_OPEN = 14
"""SQLITE_CANTOPEN: a file could not be opened or created."""


def trouble(error: DBAPIError | PoolTimeoutError) -> Trouble | None:
    """Return the trouble behind a database error, if it is one that the operator must fix."""
    code = _result_code(error)
    if code is not None:
        return SQLITE_TROUBLES.get(code)
    return POSTGRESQL_TROUBLES.get(sqlstate(error) or "")


def cannot_open(error: DBAPIError | PoolTimeoutError) -> bool:
    """Return whether SQLite could not open or create one of its files."""
    return _result_code(error) == CANNOT_OPEN


def sqlstate(error: DBAPIError | PoolTimeoutError) -> str | None:
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state if isinstance(state, str) else None


def _result_code(error: DBAPIError | PoolTimeoutError) -> int | None:
    """Return SQLite's primary result code."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def may_retry(error: DBAPIError) -> bool:
    """Return whether the uncommitted transaction may succeed when run again. It does not while the server is silent.

    A unique violation (23505) counts: another transaction inserted the same person or client, which belong to no
    organization and so have no single writer. The second run sees that row.
    """
    if isinstance(error.orig, patience.ServerSilentError):
        return False
    return error.connection_invalidated or sqlstate(error) in {"23505", "40001", "40P01", "57P01"}


def problem(error: DBAPIError | PoolTimeoutError, met: Trouble | None) -> Problem:
    """Return the problem that a caller gets for a database error."""
    why = reason(error, met)
    if isinstance(error, PoolTimeoutError):
        return Problem("unavailable", "The database is busy; try again.", reason=why)
    if met == "full":
        return Problem(
            "storage-full",
            "The disk of the database is full; nothing was changed. The operator must free some space.",
            reason=why,
        )
    return Problem(
        "unavailable", "The database did not respond; nothing was acknowledged. Try again.", reason=why
    )


def reason(error: DBAPIError | PoolTimeoutError, met: Trouble | None) -> str:
    """Return a short name of a database error. The error's text is not used, because it may contain values."""
    if isinstance(error, PoolTimeoutError):
        return "pool time-out"
    if met is not None:
        return {"full": "disk full", "damaged": "database damaged", "failing": "disk failing"}[met]
    cause = causes.find(error.orig)
    if cause is not None:
        return cause.words
    return f"{type(error.orig).__name__} {sqlstate(error) or ''}".strip()


def advice(error: BaseException | None) -> str | None:
    """Return advice for the operator about a database error, or the Problem made from one; None if the cause is unknown."""
    if isinstance(error, Problem):
        error = error.__cause__
    cause = causes.find(error.orig) if isinstance(error, DBAPIError) else None
    return None if cause is None else cause.advice


def is_outage(error: DBAPIError) -> bool:
    """Return whether the database is unable to serve now, as opposed to a fault in our code."""
    state = sqlstate(error) or ""
    if error.connection_invalidated or trouble(error) is not None or state == NOT_ALLOWED:
        return True
    if state[:2] in {"08", "28", "53", "57", "58", "40", "55", "25", "XX"}:
        return True
    text = str(error.orig).lower()
    return isinstance(error, OperationalError) and not ("no such" in text or "syntax" in text)


def wrapped(error: Any, dialect: sa.Dialect, lost: bool = False) -> DBAPIError:
    """Return a driver's error as SQLAlchemy raises it."""
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
    """Read the whole database and return its faults, at most SHOWN_FAULTS.

    Raises DBAPIError if a fault ends the check.
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
        # Without indexes, so that the server reads and checks each page of each table.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL enable_indexonlyscan = off")
        for table in tables.metadata.sorted_tables:
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    return []
