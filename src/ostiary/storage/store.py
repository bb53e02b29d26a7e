"""The only door to the world: `Store.read` and `Store.write` run a function with a `Tx`.

One writer at a time per organization, so that straight-line code ("count, then insert") is right on both
databases. A transaction function may run more than once: it does nothing outside `tx`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ostiary.core import identifier
from ostiary.core.event import Event
from ostiary.core.installation import Installation
from ostiary.core.instant import Instant
from ostiary.core.permission import Caller, Catalogue
from ostiary.core.problem import Problem
from ostiary.storage import audit, engines, failures, selects, tables
from ostiary.storage.engines import Engines
from ostiary.storage.reserve import Reserve
from ostiary.storage.troubles import Trouble, Troubles

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 4


class Clock(Protocol):
    def __call__(self) -> Instant: ...


class Entropy(Protocol):
    def __call__(self, length: int, /) -> bytes: ...


class Announce(Protocol):
    """Tells every cache on this node that the `changes` table has grown; called after commit, before the answer."""

    def __call__(self) -> None: ...


class Tx:
    """One transaction: the instant, random bytes, rows, the audit record, what to do after commit."""

    __slots__ = (
        "_after",
        "_connection",
        "_ends",
        "_entropy",
        "catalogues",
        "changed_anything",
        "installation",
        "now",
    )

    def __init__(
        self, connection: sa.Connection, now: Instant, entropy: Entropy, installation: Installation
    ) -> None:
        self._connection = connection
        self._entropy = entropy
        self._after: list[Callable[[], None]] = []
        self._ends: set[bool] = set()
        self.now = now
        self.installation = installation
        self.changed_anything = False
        self.catalogues: dict[str, Catalogue] = {}
        """Read in this transaction, by organization. `storage.roles` keeps and forgets them."""

    def execute(self, statement: sa.Executable, rows: Any = None) -> sa.CursorResult[Any]:
        """Run a statement. Only the modules of `storage` call this."""
        result: Any = self._connection.execute(statement, rows)
        return result  # type: ignore[no-any-return] # SQLAlchemy's Result; a CursorResult for every statement of ours

    def select(self, statement: sa.Select[Any], /, **parameters: Any) -> Sequence[Any]:
        """The rows of a SELECT, as `Store.select` gives them."""
        return self.execute(statement, parameters).all()

    @property
    def connection(self) -> sa.Connection:
        """For what is written per engine, in `engines.py` only."""
        return self._connection

    def entropy(self, length: int) -> bytes:
        return self._entropy(length)

    def new_id(self, prefix: identifier.Prefix) -> str:
        return identifier.make(prefix, self.now, self._entropy(identifier.ENTROPY))

    def record(self, event: Event, organization_id: str) -> None:
        """Put an event into the audit log of an organization, in this transaction or not at all."""
        self.record_all([(organization_id, event)])

    def record_all(self, events: Sequence[tuple[str, Event]]) -> None:
        """The same for several events, each with the organization whose log it belongs to."""
        self._ends.update(event.ends_access for _, event in events)
        try:
            audit.insert(self, events)
        except DBAPIError as error:
            if (
                error.connection_invalidated
                or failures.may_retry(error)
                or failures.trouble(error) is not None
            ):
                raise
            raise Problem(
                "audit-unavailable",
                "The audit log cannot be written, so nothing was changed. Try again.",
                reason=type(error.orig).__name__,
            ) from error

    @property
    def ends_access(self) -> bool:
        """Return whether this transaction only takes access away, judged by its recorded events."""
        return self._ends == {True}

    def changed(
        self,
        kind: Literal["credential", "organization", "installation", "import", "token", "session", "client"],
        subject_id: str,
    ) -> None:
        """Note that what verdicts read has changed."""
        self.changed_anything = True
        # The database's clock, as in `retention`: a row with a date in the past could be deleted before caches read it.
        at = engines.clock(self._connection, self.now)
        self.execute(tables.changes.insert().values(kind=kind, id=subject_id, at=at))

    def confirm(self) -> None:
        """What was asked for holds already: no cache may say otherwise after this is acknowledged.

        Whoever changed it may not have announced it yet, or on another node only.
        """
        self.changed_anything = True

    def after(self, action: Callable[[], None]) -> None:
        """Do this once the transaction has been committed, before the answer."""
        self._after.append(action)

    def committed(self) -> None:
        for action in self._after:
            action()


@dataclass(frozen=True, slots=True)
class Store:
    """A database with a clock, a source of random bytes, and the installation's facts."""

    engines: Engines
    installation: Installation
    clock: Clock
    entropy: Entropy
    announce: Announce = lambda: None
    errors: dict[str, int] = field(default_factory=dict, compare=False)
    """How often the database failed, by reason, what was tried again included. Two threads may lose one."""
    reserve: Reserve = field(default_factory=Reserve, compare=False)
    troubles: Troubles = field(default_factory=Troubles, compare=False)

    def read(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(tx, …)` over one read-only snapshot."""

        def snapshot() -> T:
            with self.engines.reader.begin() as connection:
                return work(self._tx(connection), *args, **kwargs)

        return self._tried(snapshot)

    def select(self, statement: sa.Select[Any], **parameters: Any) -> Sequence[Any]:
        """The rows of one SELECT without a transaction around it, where a request waits for that alone.

        A column is an attribute of a row. Only the modules of `storage` call this.
        """
        return self._tried(
            lambda: selects.select(self.engines.reader, self.engines.selects, statement, parameters)
        )

    def _tried(self, read: Callable[[], T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                with engines.asking(self.engines.reads):
                    return read()
            except (DBAPIError, PoolTimeoutError) as error:
                met = self._met(error)
                if attempt + 1 < ATTEMPTS and isinstance(error, DBAPIError) and failures.may_retry(error):
                    continue
                raise _translated(error, met) from error
        raise AssertionError("unreachable")

    def write(
        self, work: Callable[Concatenate[Tx, Caller, P], T], caller: Caller, *args: Any, **kwargs: Any
    ) -> T:
        """Run `work(tx, caller, …)` as the only writer of the caller's organization."""
        return self.write_on((caller.organization_id,), work, caller, *args, **kwargs)

    def write_on(
        self,
        organization_ids: Sequence[str],
        work: Callable[Concatenate[Tx, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(tx, …)` as the only writer of these organizations; of none for batches and for `init`.

        On a full disk, what ends access gets the room in reserve, a step at a time. Until there is room and the
        reserve is whole again, nothing else is written.
        """
        attempts = given_up = 0
        while True:
            attempts += 1
            committing = False
            tx = None
            try:
                with (
                    engines.asking(self.engines.writes),
                    engines.writing(self.engines) as (connection, transaction),
                ):
                    engines.serialize(connection, organization_ids)
                    tx = self._tx(connection)
                    result = work(tx, *args, **kwargs)
                    if not (tx.ends_access or self.reserve.has_room()) and engines.has_written(connection):
                        raise Problem(
                            "storage-full",
                            "The disk of the database is full; until there is room, only what ends access is done.",
                            reason="the room left is in reserve",
                        )
                    committing = True
                    transaction.commit()
            except (DBAPIError, PoolTimeoutError) as error:
                met = self._met(error)
                # Without a transaction the database could not be opened: give up one step for that.
                entitled = tx.ends_access if tx is not None else attempts == 1
                if met == "full" and entitled and self.reserve.give_up(given_up):
                    given_up += 1
                    continue
                # A commit whose answer was lost may have happened: it is not run again.
                retry = isinstance(error, DBAPIError) and failures.may_retry(error) and not committing
                if retry and attempts < ATTEMPTS:
                    continue
                raise _translated(error, met) from error
            if tx.changed_anything:
                self.announce()
            tx.committed()
            return result

    def checkpoint(self) -> None:
        """Move what was committed from SQLite's log into the database, as `engines.checkpoint` does. Problem.

        On a full disk one step of the reserve is spent on it, once any is: the log then begins again, and takes no more
        room for what ends access.
        """
        may_give_up = self.reserve.missing() > 0
        while True:
            try:
                return engines.checkpoint(self.engines)
            except (DBAPIError, PoolTimeoutError) as error:
                met = self._met(error)
                if met == "full" and may_give_up and self.reserve.give_up():
                    may_give_up = False
                    continue
                if met == "full":
                    return None  # logged once a minute with the other troubles
                raise _translated(error, met) from error

    def _met(self, error: DBAPIError | PoolTimeoutError) -> Trouble | None:
        """Count a database error, and note the trouble behind it."""
        met = failures.trouble(error)
        if self.reserve.is_out_of_room() and (met == "failing" or failures.cannot_open(error)):
            met = "full"  # a file could not be made or grow
        if met is not None:
            self.troubles.note(met, self.clock())
        reason = failures.reason(error, met)
        self.errors[reason] = self.errors.get(reason, 0) + 1
        return met

    def _tx(self, connection: sa.Connection) -> Tx:
        return Tx(connection, self.clock(), self.entropy, self.installation)


def _translated(error: DBAPIError | PoolTimeoutError, met: Trouble | None) -> Exception:
    """A Problem where the database could not; the error itself where the fault is ours (a 500)."""
    if isinstance(error, PoolTimeoutError) or failures.is_outage(error):
        return failures.problem(error, met)
    return error
