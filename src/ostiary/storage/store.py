"""The only access to the world: `Store.read` and `Store.write` run a function with a `Tx`.

There is one writer at a time per organization, so that straight-line code ("count, then insert") is right on both
databases. A transaction function may run more than once, so it must do nothing outside `tx`.
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
from ostiary.storage import engines, failures, selects, tables
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
    """Tells all caches of this node that the `changes` table has grown. Called after commit, before the response."""

    def __call__(self) -> None: ...


class Tx:
    """One transaction: the instant, random bytes, rows, the audit record, and actions after commit."""

    __slots__ = (
        "_after",
        "_connection",
        "_entropy",
        "_shares",
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
        self._shares: set[float] = set()
        self.now = now
        self.installation = installation
        self.changed_anything = False
        self.catalogues: dict[str, Catalogue] = {}
        """Read in this transaction, by organization. `storage.roles` keeps and forgets them."""

    def execute(self, statement: sa.Executable, rows: Any = None) -> sa.CursorResult[Any]:
        """Run a statement. Only modules of `storage` may call this."""
        result: Any = self._connection.execute(statement, rows)
        return result  # type: ignore[no-any-return] # SQLAlchemy says Result; for our statements it is a CursorResult

    def select(self, statement: sa.Select[Any], /, **parameters: Any) -> Sequence[Any]:
        """Return the rows of a SELECT, like `Store.select`."""
        return self.execute(statement, parameters).all()

    @property
    def connection(self) -> sa.Connection:
        """Return the connection, for the database-specific statements in `engines.py` only."""
        return self._connection

    def entropy(self, length: int) -> bytes:
        return self._entropy(length)

    def new_id(self, prefix: identifier.Prefix) -> str:
        return identifier.make(prefix, self.now, self._entropy(identifier.ENTROPY))

    def record(self, event: Event, organization_id: str) -> None:
        """Append an event to the audit log of an organization, in this transaction. Raises Problem as `record_all`
        does."""
        self.record_all([(organization_id, event)])

    def record_all(self, events: Sequence[tuple[str, Event]]) -> None:
        """Append several events, each to the log of its organization. Raises audit-unavailable if the log cannot be
        written."""
        self._shares.update(event.reserve_share for _, event in events)
        rows = [self._audit_row(organization_id, event) for organization_id, event in events]
        try:
            if rows:
                self.execute(tables.audit_events.insert(), rows)
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

    def _audit_row(self, organization_id: str, event: Event) -> dict[str, Any]:
        return {
            "id": self.new_id("evt"),
            "organization_id": organization_id,
            "time": self.now,
            "action": event.action,
            "actor_type": event.actor.type,
            "actor_id": event.actor.id,
            "actor_display": event.actor.display,
            "actor_credential_id": event.actor.credential_id,
            "actor_credential_kind": event.actor.credential_kind,
            "actor_token_id": event.actor.token_id,
            "target_type": event.target.type if event.target else None,
            "target_id": event.target.id if event.target else None,
            "target_display": event.target.display if event.target else None,
            "outcome": event.outcome,
            "reason": event.reason,
            "address": event.address,
            "user_agent": event.user_agent,
            "request_id": event.request_id,
            "details": dict(event.details),
        }

    @property
    def reserve_share(self) -> float:
        """Return the part of the disk reserve that this transaction may use, judged by its recorded events.

        It is 0 if the transaction does anything but take access away.
        """
        return max(self._shares) if self._shares and min(self._shares) > 0 else 0.0

    def changed(
        self,
        kind: Literal["credential", "organization", "installation", "import", "token", "session", "client"],
        subject_id: str,
    ) -> None:
        """Record that facts which verdicts read have changed, so that caches drop them."""
        self.changed_anything = True
        # The database's clock, as in `retention`: a row dated in the past could be deleted before caches read it.
        at = engines.clock(self._connection, self.now)
        self.execute(tables.changes.insert().values(kind=kind, id=subject_id, at=at))

    def confirm(self) -> None:
        """Make this node's caches catch up before the response, although this transaction changes nothing.

        For a request whose result exists already: the transaction that made the change may not have announced it yet,
        or only on another node.
        """
        self.changed_anything = True

    def after(self, action: Callable[[], None]) -> None:
        """Run this action after the commit, before the response."""
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
    """How often the database failed, by reason, retried errors included. Not exact: two threads may lose a count."""
    reserve: Reserve = field(default_factory=Reserve, compare=False)
    troubles: Troubles = field(default_factory=Troubles, compare=False)

    def read(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(tx, …)` on one read-only snapshot. Raises Problem if the database cannot be used."""

        def snapshot() -> T:
            with self.engines.reader.begin() as connection:
                return work(self._tx(connection), *args, **kwargs)

        return self._with_retries(snapshot)

    def select(self, statement: sa.Select[Any], **parameters: Any) -> Sequence[Any]:
        """Return the rows of one SELECT without a transaction, for requests that need only this read.

        A column is an attribute of a row. Only modules of `storage` may call this.
        """
        return self._with_retries(
            lambda: selects.select(self.engines.reader, self.engines.selects, statement, parameters)
        )

    def _with_retries(self, read: Callable[[], T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                with engines.guarded(self.engines.reads):
                    return read()
            except (DBAPIError, PoolTimeoutError) as error:
                met = self._note_failure(error)
                if attempt + 1 < ATTEMPTS and isinstance(error, DBAPIError) and failures.may_retry(error):
                    continue
                raise _translated(error, met) from error
        raise AssertionError("unreachable")

    def write(
        self, work: Callable[Concatenate[Tx, Caller, P], T], caller: Caller, *args: Any, **kwargs: Any
    ) -> T:
        """Run `work(tx, …)` as the only writer of the caller's organization."""
        return self.write_on((caller.organization_id,), work, caller, *args, **kwargs)

    def write_on(
        self,
        organization_ids: Sequence[str],
        work: Callable[Concatenate[Tx, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(tx, …)` as the only writer of these organizations. Batches and `init` pass none. Raises Problem.

        On a full disk, transactions that end access get the reserved space, a step at a time. All others are refused
        until there is room and the reserve is complete again.
        """
        attempts = given_up = 0
        while True:
            attempts += 1
            committing = False
            tx = None
            try:
                with (
                    engines.guarded(self.engines.writes),
                    engines.writing(self.engines) as (connection, transaction),
                ):
                    engines.serialize(connection, organization_ids)
                    tx = self._tx(connection)
                    result = work(tx, *args, **kwargs)
                    allowed = self.reserve.allows(tx.reserve_share) or self.reserve.has_room()
                    if not allowed and engines.has_written(connection):
                        raise Problem(
                            "storage-full",
                            "The disk of the database is full. Until there is room, only operations that end access "
                            "are possible.",
                            reason="the room left is in reserve",
                        )
                    committing = True
                    transaction.commit()
            except (DBAPIError, PoolTimeoutError) as error:
                met = self._note_failure(error)
                # Without a transaction the database could not be opened: one step of the reserve is given up for that.
                may_use_reserve = self.reserve.allows(tx.reserve_share) if tx is not None else attempts == 1
                if met == "full" and may_use_reserve and self.reserve.give_up(given_up):
                    given_up += 1
                    continue
                # A commit whose response was lost may have succeeded, so it is not run again.
                retry = isinstance(error, DBAPIError) and failures.may_retry(error) and not committing
                if retry and attempts < ATTEMPTS:
                    continue
                raise _translated(error, met) from error
            if tx.changed_anything:
                self.announce()
            tx.committed()
            return result

    def checkpoint(self) -> None:
        """Move committed pages from SQLite's log into the database file (`engines.checkpoint`). Raises Problem.

        On a full disk this may use one step of the reserve, if some of it was given up before. The log then starts
        over and takes no more of the room that is for ending access.
        """
        may_give_up = self.reserve.missing() > 0
        while True:
            try:
                return engines.checkpoint(self.engines)
            except (DBAPIError, PoolTimeoutError) as error:
                met = self._note_failure(error)
                if met == "full" and may_give_up and self.reserve.give_up():
                    may_give_up = False
                    continue
                if met == "full":
                    return None  # logged once a minute with the other troubles
                raise _translated(error, met) from error

    def _note_failure(self, error: DBAPIError | PoolTimeoutError) -> Trouble | None:
        """Count a database error, and note the trouble behind it."""
        met = failures.trouble(error)
        if self.reserve.is_out_of_room() and (met == "failing" or failures.cannot_open(error)):
            met = "full"  # a file could not be created or extended
        if met is not None:
            self.troubles.note(met, self.clock())
        reason = failures.reason(error, met)
        self.errors[reason] = self.errors.get(reason, 0) + 1
        return met

    def _tx(self, connection: sa.Connection) -> Tx:
        return Tx(connection, self.clock(), self.entropy, self.installation)


def _translated(error: DBAPIError | PoolTimeoutError, met: Trouble | None) -> Exception:
    """Return a Problem if the database is unavailable; the error itself (a 500) if the fault is in our code."""
    if isinstance(error, PoolTimeoutError) or failures.is_outage(error):
        return failures.problem(error, met)
    return error
