"""Everything that differs between SQLite and PostgreSQL. No other module distinguishes them.

SQLite has one writing connection, with `BEGIN IMMEDIATE`, WAL and `synchronous=FULL`. PostgreSQL uses READ COMMITTED,
and the first statement of a writing transaction locks the organization's row. On both, a read sees one read-only
snapshot: a transaction, or a single statement outside any transaction.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ostiary.storage import failures, patience, tables
from ostiary.storage.fair_queue import Turns, attempts, next_in_line
from ostiary.storage.patience import Gate
from ostiary.storage.reserve import is_out_of_room
from ostiary.storage.selects import PreparedStatements

try:
    # Bundles a newer SQLite. Versions 3.7.0 to 3.51.2 can corrupt a WAL database when one connection commits while
    # another one checkpoints.
    from pysqlite3 import dbapi2 as _sqlite
except ImportError:
    _sqlite = sqlite3
sqlite_module: ModuleType = _sqlite

WAIT_MS = int(patience.WAIT * 1000)
"""Milliseconds. No wait for a lock, a turn or a pool takes longer."""
READERS = 6
WRITERS = 6
"""Connections of one process: one for each handler thread, one for the periodic tasks, and one spare."""
SAFE_CHECKPOINTS = (3, 51, 3)
"""The first SQLite version in which one connection may commit while another checkpoints."""
NEEDS = "needs SQLite 3.51.3 or later (install pysqlite3, or use PostgreSQL)"
LARGE_LOG = 16_384
"""Pages of SQLite's write-ahead log (64 MiB) above which the log is truncated. Writers wait a moment for that."""
TRUNCATE_WAIT_MS = 200
BEGUN_WITH = "rows changed before"
"""Key in `Connection.info`: the number of rows that the connection had changed when the transaction began."""

Name = Literal["sqlite", "postgresql"]


@dataclass(frozen=True, slots=True)
class Engines:
    """A reader and a writer of one database. In `writing`, threads wait for the writer in order."""

    name: Name
    reader: sa.Engine
    writer: sa.Engine
    writing: Turns
    """Decides which thread of this process writes next."""
    reads: Gate = field(default_factory=Gate, compare=False, repr=False)
    writes: Gate = field(default_factory=Gate, compare=False, repr=False)
    selects: PreparedStatements = field(default_factory=dict, compare=False, repr=False)

    def dispose(self) -> None:
        self.reader.dispose()
        self.writer.dispose()


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def connect(url: str, checkpoints: bool = True, patient: bool = False) -> Engines:
    """Prepare the engines for a `sqlite:///` or `postgresql://` URL. No connection is opened yet.

    Without `checkpoints`, another process must call `checkpoint` for SQLite's log. `patient` is for local commands: on
    PostgreSQL a statement may take a minute, and its response is awaited for as long as TCP does.
    """
    if url.startswith("sqlite:///"):
        return _sqlite_engines(url, checkpoints)
    from ostiary.storage import wire  # and with it PostgreSQL's driver

    parts = sa.make_url(url).set(drivername="postgresql+psycopg")
    statement_ms = int((patience.COMMAND if patient else patience.STATEMENT) * 1000)
    options = wire.TCP | {
        "connect_timeout": 2,
        "application_name": "ostiary",
        "options": f"-c lock_timeout={WAIT_MS} -c statement_timeout={statement_ms} "
        f"-c idle_in_transaction_session_timeout={WAIT_MS * 5} -c timezone=UTC "
        # By default the server keeps its end of a lost connection for two hours.
        "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
    }
    read_only = f"{options['options']} -c default_transaction_read_only=on"
    pool: dict[str, Any] = {"pool_timeout": patience.WAIT, "pool_recycle": 1800, "hide_parameters": True}
    # As on SQLite, the driver begins no transactions: `select` needs none, and the others begin with our own BEGIN.
    reader = sa.create_engine(
        parts,
        connect_args=options | {"options": read_only},
        isolation_level="AUTOCOMMIT",
        pool_size=READERS,
        max_overflow=0,
        **pool,
    )
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    sa.event.listen(reader, "begin", lambda connection: connection.exec_driver_sql(begin))
    writer = sa.create_engine(
        parts,
        connect_args=options,
        isolation_level="READ COMMITTED",
        pool_size=WRITERS,
        max_overflow=0,
        **pool,
    )
    for engine in (reader, writer):
        sa.event.listen(
            engine,
            "do_connect",
            lambda _dialect, _record, arguments, options: wire.connect(patient, *arguments, **options),
        )
    return Engines("postgresql", reader, writer, Turns(WRITERS, WAIT_MS))


def _sqlite_engines(url: str, checkpoints: bool) -> Engines:
    common: dict[str, Any] = {
        "module": sqlite_module,
        "poolclass": sa.QueuePool,
        "max_overflow": 0,
        "pool_timeout": patience.WAIT,
        "hide_parameters": True,
        "connect_args": {"check_same_thread": False, "timeout": patience.WAIT},
    }
    path = url.removeprefix("sqlite:///")
    writer = sa.create_engine(url, pool_size=1, **common)
    reader = sa.create_engine(url, pool_size=READERS, creator=lambda: _connect_reader(path), **common)

    # The driver's implicit transactions lose updates silently. So they are switched off, and BEGIN is explicit.
    def prepare(connection: Any, writes: bool) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {WAIT_MS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA trusted_schema = OFF")
        cursor.execute("PRAGMA temp_store = MEMORY")
        if writes:
            # A full disk must fail the commit, not an earlier statement: only then are the transaction's events known.
            cursor.execute("PRAGMA cache_spill = OFF")
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA secure_delete = ON")
            # Only BEGIN may have to wait, and `_begin_in_turn` does that. SQLite's own wait polls ever more rarely.
            cursor.execute("PRAGMA busy_timeout = 0")
        else:
            cursor.execute("PRAGMA query_only = ON")
        if not (writes and checkpoints):
            cursor.execute("PRAGMA wal_autocheckpoint = 0")
        cursor.close()

    sa.event.listen(writer, "connect", lambda connection, _record: prepare(connection, True))
    sa.event.listen(reader, "connect", lambda connection, _record: prepare(connection, False))
    sa.event.listen(reader, "checkin", _close_unshared)
    queue = Path(f"{path}-queue")
    sa.event.listen(writer, "begin", lambda connection: _begin_in_turn(connection, queue))
    sa.event.listen(reader, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return Engines("sqlite", reader, writer, Turns(1, WAIT_MS))


class _Unshared(sqlite_module.Connection):  # type: ignore[name-defined,misc] # base depends on the SQLite module
    """A connection that reads the file without locks and without the write-ahead log."""


def _connect_reader(path: str) -> Any:
    """Return a connection for reading. On a full disk it may be an `_Unshared` one.

    SQLite shares its log through a file that the first process to open the database creates. If the disk has no room
    for that file, no process has the database open, so nobody writes. Without a log, the file alone is the database.
    """
    options: dict[str, Any] = {"check_same_thread": False, "timeout": WAIT_MS / 1000}
    connection = sqlite_module.connect(path, **options)
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except sqlite_module.OperationalError:
        connection.close()
        log = Path(f"{path}-wal")
        if not is_out_of_room(Path(path).parent) or (log.exists() and log.stat().st_size):
            raise
        address = f"file:{quote(path)}?immutable=1"
        connection = sqlite_module.connect(address, uri=True, factory=_Unshared, **options)
    return connection


def _close_unshared(connection: Any, record: Any) -> None:
    """Close an `_Unshared` connection after one use. By then another process may write, and locks are needed."""
    if isinstance(connection, _Unshared):
        record.invalidate()


def _begin_in_turn(connection: sa.Connection, queue: Path) -> None:
    """Begin SQLite's only writing transaction, in order with other processes."""
    with next_in_line(queue, WAIT_MS):
        for _ in attempts(WAIT_MS):
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                driver: Any = connection.connection.dbapi_connection
                connection.info[BEGUN_WITH] = driver.total_changes
                return
            except OperationalError as error:
                if not _is_locked(error):
                    raise
                busy = error
    raise busy


@contextlib.contextmanager
def writing(engines: Engines) -> Iterator[tuple[sa.Connection, sa.Transaction]]:
    """Yield the writer's connection in a transaction, when it is this thread's turn. It is rolled back unless
    committed.

    On SQLite there are three waits: for the turn in this process, the place among the processes, and the lock. Each
    takes at most `patience.WAIT`, and all together at most `patience.REQUEST`. (With 2 s for all three, a service that
    was killed under load once refused a write.) On PostgreSQL every thread has a turn, so only the connection is
    waited for.
    """
    with contextlib.ExitStack() as stack:
        with patience.within(patience.REQUEST):
            stack.enter_context(engines.writing.turn())
            connection = stack.enter_context(engines.writer.connect())
            transaction = stack.enter_context(connection.begin())
        yield connection, transaction


@contextlib.contextmanager
def guarded(gate: Gate) -> Iterator[None]:
    """Wrap one reading or writing transaction. Raises unavailable at once while the database hangs."""
    gate.enter()
    try:
        yield
    except DBAPIError as error:
        if _hangs(error):
            gate.shut()
        else:
            gate.open()
        raise
    except PoolTimeoutError:
        raise  # the database was not asked
    except BaseException:
        gate.open()
        raise
    else:
        gate.open()


def _hangs(error: DBAPIError) -> bool:
    """Return whether other callers would wait in vain, too: the server is silent, or SQLite's lock is not released."""
    return (isinstance(error.orig, patience.ServerSilentError) and error.orig.hangs) or _is_locked(error)


def _is_locked(error: DBAPIError) -> bool:
    return "database is locked" in str(error.orig)


def checkpoints_safely() -> bool:
    """Return whether the linked SQLite allows one process to checkpoint while others commit."""
    version: tuple[int, ...] = sqlite_module.sqlite_version_info
    return version >= SAFE_CHECKPOINTS


def checkpoint(engines: Engines) -> None:
    """Move committed pages from SQLite's log into the database file. Does nothing on PostgreSQL. Raises DBAPIError.

    Usually no writer waits for it. Once the log is large, writers wait a moment: under constant commits nothing else
    lets the log start over.
    """
    if engines.name != "sqlite":
        return
    try:
        with engines.writing.turn(), contextlib.closing(engines.writer.raw_connection()) as connection:
            # A raw connection, because a checkpoint is not possible inside a transaction.
            cursor = connection.cursor()
            try:
                _busy, pages, _moved = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages > LARGE_LOG:
                    cursor.execute(f"PRAGMA busy_timeout = {TRUNCATE_WAIT_MS}")
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    cursor.execute("PRAGMA busy_timeout = 0")
            finally:
                cursor.close()
    except sqlite_module.Error as error:
        raise failures.wrapped(error, engines.writer.dialect) from error


def serialize(connection: sa.Connection, organization_ids: Sequence[str]) -> None:
    """Make this transaction the only writer of these organizations until it ends.

    On SQLite it already is the only writer. On PostgreSQL it locks the organizations' rows, in order of id.
    """
    if connection.dialect.name == "sqlite":
        return
    table = tables.organizations
    for organization_id in sorted(organization_ids):
        connection.execute(sa.select(table.c.id).where(table.c.id == organization_id).with_for_update())


def lock_schema(connection: sa.Connection) -> None:
    """Let one node migrate at a time. A second node waits, and then finds nothing to do."""
    if connection.dialect.name == "postgresql":
        # The time-outs of requests are too short for another node's migration.
        connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(6817426)"))


def horizon(connection: sa.Connection) -> int:
    """Return the oldest transaction that this snapshot may not see. 0 on SQLite, which has one writer."""
    if connection.dialect.name == "sqlite":
        return 0
    statement = sa.text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    return int(connection.execute(statement).scalar_one())


def unseen(connection: sa.Connection, since: int) -> sa.TextClause | None:
    """Return the SQL condition for rows whose transaction was not finished at this horizon. None on SQLite.

    A row's `xmin` has the lower 32 bits of its transaction's id, which wrap around. So only rows with an `at` in the
    last hour are compared, which uses the index on `at`. No transaction takes longer.
    """
    if connection.dialect.name == "sqlite":
        return None
    condition = (
        "(at > extract(epoch FROM now())::bigint * 1000000 - 3600000000"
        " AND ((xmin::text::bigint - :horizon) & 4294967295) < 2147483648)"
    )
    return sa.text(condition).bindparams(horizon=since)


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    add: tuple[str, ...] = (),
    latest: tuple[str, ...] = (),
) -> None:
    """Insert rows. If the key exists, add to the columns in `add`, and keep the later value in the columns in
    `latest`.

    Other columns are overwritten. Rows are written in order of their key, so that two batches do not deadlock.
    """
    keys = [column.name for column in table.primary_key]
    statement = _insert(connection, table)
    changed: dict[str, Any] = {}
    for column in table.columns:
        if column.name in keys:
            continue
        new = statement.excluded[column.name]
        if column.name in add:
            changed[column.name] = column + new
        elif column.name in latest:
            changed[column.name] = sa.case((new > column, new), else_=column)
        else:
            changed[column.name] = new
    ordered = sorted(rows, key=lambda row: tuple(row[key] for key in keys))
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), ordered)


def _insert(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that may say what to do where the key exists."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def insert_new(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    unique: sa.Column[Any],
    returning: sa.Column[Any],
) -> set[Any]:
    """Insert the rows whose value of `unique` does not exist yet. Return the values of `returning` in those rows.

    Rows are written in order of that value, so that two batches do not deadlock.
    """
    statement = (
        _insert(connection, table).on_conflict_do_nothing(index_elements=[unique]).returning(returning)
    )
    ordered = sorted(rows, key=lambda row: row[unique.name])
    return set(connection.execute(statement, ordered).scalars())


def delete_first(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    order: sa.Column[Any],
    limit: int,
    returning: sa.Column[Any],
) -> list[Any]:
    """Delete at most `limit` rows that match the condition, the first by `order`. Return their values of `returning`.

    Rows are found by their physical position: for a long list of key values, PostgreSQL would read the whole table.
    Rows that another transaction has locked are skipped.
    """
    table = order.table
    sqlite = connection.dialect.name == "sqlite"
    place: sa.ColumnElement[Any] = sa.literal_column("rowid" if sqlite else "ctid")
    first = sa.select(place).select_from(table).where(which).order_by(order).limit(limit).correlate(None)
    chosen: sa.ColumnElement[bool]
    if sqlite:
        chosen = place.in_(first)
    else:
        found = first.with_for_update(of=table, skip_locked=True).scalar_subquery()
        chosen = place == sa.any_(sa.func.array(found))
    return list(connection.execute(table.delete().where(chosen).returning(returning)).scalars())


def has_written(connection: sa.Connection) -> bool:
    """Return whether this transaction has changed a row; on PostgreSQL always True."""
    if connection.dialect.name != "sqlite":
        return True
    driver: Any = connection.connection.dbapi_connection
    return bool(driver.total_changes > connection.info[BEGUN_WITH])


def linked_version(engines: Engines) -> str:
    """Return the version of the database in use: SQLite's library, or PostgreSQL's server."""
    if engines.name == "sqlite":
        return str(sqlite_module.sqlite_version)
    with engines.reader.begin() as connection:
        return str(connection.execute(sa.text("SHOW server_version")).scalar_one())


def clock(connection: sa.Connection, now: int) -> sa.ColumnElement[int]:
    """Return SQL for the time in microseconds: the database's clock, or `now` on SQLite, which has no clock of its
    own."""
    if connection.dialect.name == "sqlite":
        return sa.literal(now, sa.BigInteger)
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1_000_000, sa.BigInteger)


def clock_difference(engines: Engines, now: int) -> float:
    """Return the seconds by which this node's clock is ahead of the database's. 0 on SQLite, which has no clock of its
    own."""
    if engines.name == "sqlite":
        return 0.0
    with engines.reader.begin() as connection:
        theirs = connection.execute(sa.select(clock(connection, now))).scalar_one()
    return (now - theirs) / 1_000_000
