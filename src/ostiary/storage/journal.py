"""Audit events that must be committed before the response, many of them in one transaction.

The recorder of an entry waits until the entry is committed. While one transaction is written, the next entries gather.
So a worker commits only as often as its disk allows, however many requests there are.

An entry may use up marks: of all entries with the same mark, on every node and for ever, only one is written. It may
also carry a conditional update of its own. Nothing else is decided here.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final

from ostiary.core.event import Event
from ostiary.core.instant import Instant
from ostiary.core.problem import Problem
from ostiary.storage import engines, patience
from ostiary.storage.store import Store, Tx
from ostiary.storage.tables import used_assertions as marks

MOST_WAITING: Final = 1_000
STOP_SECONDS: Final = 10
_FOR_ALL: Final = frozenset({"unavailable", "storage-full"})
"""Problem codes of failures that no single entry causes."""


@dataclass(frozen=True, slots=True)
class UsedMark:
    """The mark of a single-use object, and until when the object could be presented again."""

    digest: bytes
    expires_at: Instant


@dataclass(frozen=True, slots=True)
class Entry:
    """An event for the log of an organization, and what is used up with it."""

    organization_id: str
    event: Event
    used: tuple[UsedMark, ...] = ()
    apply: Callable[[Tx], bool] | None = None
    """An update in the same transaction. It returns whether it was possible; if not, nothing of the entry is written."""


Result = bool | Exception
Waiter = asyncio.Future[bool] | Future[bool]


class Journal:
    """The recorder of one process. Its own thread writes, from `start` to `stop`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[Entry, Waiter]] = []
        self._changed = threading.Condition()
        self._ready = self._scheduled = self._stopped = False
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write the waiting entries, and accept no more. Call it in a thread: the event loop must keep running
        meanwhile."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def record(self, entry: Entry) -> asyncio.Future[bool]:
        """For the event loop. The future is True once the entry is committed; False if a mark was used already or
        `apply` failed.

        The call or the future raises a Problem (audit-unavailable, unavailable, storage-full) if it may not have been
        written.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._enqueue(entry, future)
        if not self._scheduled:
            # All entries of one pass of the loop go together, even if the disk is fast: a transaction costs as much
            # processor time as issuing several tokens.
            self._scheduled = True
            loop.call_soon(self._mark_ready)
        return future

    def record_now(self, entry: Entry) -> bool:
        """Record an entry from a thread, which waits for the result. Raises like `record`."""
        future: Future[bool] = Future()
        self._enqueue(entry, future)
        self._mark_ready()
        return future.result()

    def _enqueue(self, entry: Entry, waiter: Waiter) -> None:
        with self._changed:
            if self._stopped or len(self._waiting) >= MOST_WAITING:
                reason = "the service stops" if self._stopped else "too much waits for the audit log"
                raise Problem("unavailable", "The database is busy; try again.", reason=reason)
            self._waiting.append((entry, waiter))

    def _mark_ready(self) -> None:
        """Let the writer take the waiting entries."""
        with self._changed:
            self._ready, self._scheduled = True, False
            self._changed.notify()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._ready and not self._stopped:
                    self._changed.wait()
                taken, self._waiting, self._ready = self._waiting, [], False
                if not taken and self._stopped:
                    return
            if not taken:
                continue
            results = self._results([entry for entry, _ in taken])
            _resolve([(waiter, result) for (_, waiter), result in zip(taken, results, strict=True)])

    def _results(self, entries: Sequence[Entry]) -> Sequence[Result]:
        """Return the result of each entry. If an entry makes the batch fail, each entry is tried once by itself."""
        try:
            with patience.within(patience.REQUEST):
                return self._store.write_on((), write, entries)
        except Exception as error:  # becomes the result of the entries; the thread must go on
            failure = error
        if len(entries) == 1 or _concerns_all(failure):
            return [failure] * len(entries)
        results: list[Result] = []
        for number, entry in enumerate(entries):
            (result,) = self._results([entry])
            if isinstance(result, Exception) and _concerns_all(result):
                return results + [result] * (len(entries) - number)
            results.append(result)
        return results


def write(tx: Tx, entries: Sequence[Entry]) -> list[bool]:
    """Write the entries whose marks are unused and whose `apply` succeeds. Return for each whether it was written."""
    first: dict[bytes, int] = {}
    used = []
    for number, entry in enumerate(entries):
        for each in entry.used:
            if each.digest not in first:
                first[each.digest] = number
                used.append(each)
    new = use_up(tx, used)
    first_use = [
        all(first[each.digest] == number and each.digest in new for each in entry.used)
        for number, entry in enumerate(entries)
    ]
    written = [
        is_first and (entry.apply is None or entry.apply(tx))
        for entry, is_first in zip(entries, first_use, strict=True)
    ]
    # If `apply` failed, release the entry's marks, so that the request can be retried with the same proof.
    unused = [
        each.digest
        for entry, is_first, was_written in zip(entries, first_use, written, strict=True)
        if is_first and not was_written
        for each in entry.used
    ]
    if unused:
        tx.execute(marks.delete().where(marks.c.digest.in_(unused)))
    tx.record_all(
        [
            (entry.organization_id, entry.event)
            for entry, was_written in zip(entries, written, strict=True)
            if was_written
        ]
    )
    return written


def use_up(tx: Tx, used: Sequence[UsedMark]) -> set[bytes]:
    """Store these marks, which must differ. Return the digests of those that were not stored before."""
    rows = [{"digest": each.digest, "expires_at": each.expires_at} for each in used]
    return engines.insert_new(tx.connection, marks, rows, marks.c.digest, marks.c.digest) if rows else set()


def _concerns_all(failure: Exception) -> bool:
    return isinstance(failure, Problem) and failure.code in _FOR_ALL


def _resolve(results: Sequence[tuple[Waiter, Result]]) -> None:
    """Deliver the results: to threads at once, to each event loop in one call."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, Result]]] = {}
    for waiter, result in results:
        if isinstance(waiter, Future):
            _set_results([(waiter, result)])
        else:
            loops.setdefault(waiter.get_loop(), []).append((waiter, result))
    for loop, loop_results in loops.items():
        try:
            loop.call_soon_threadsafe(_set_results, loop_results)
        except RuntimeError:  # the loop was closed, so nothing waits for the result
            continue


def _set_results(results: Sequence[tuple[Waiter, Result]]) -> None:
    for waiter, result in results:
        if waiter.done():  # the request was cancelled
            continue
        if isinstance(result, bool):
            waiter.set_result(result)
        else:
            # A copy for each waiter, because an exception accumulates the tracebacks of everyone who raises it.
            waiter.set_exception(replace(result) if isinstance(result, Problem) else result)
