"""The journal: events that must be in the audit log before an answer, many of them in one transaction.

Whoever records an entry waits until it is committed. While one transaction is being written the next entries gather,
so a worker commits as often as its disk allows, however many requests there are. An entry may carry the mark of a
thing that is used once: of all entries with one mark, on every node and for ever, one is written; or a conditional
update of its own. Nothing is decided here but that.
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
"""Failures that no entry is the cause of."""


@dataclass(frozen=True, slots=True)
class Used:
    """The mark of a thing that is used once, and until when somebody could try it again."""

    digest: bytes
    expires_at: Instant


@dataclass(frozen=True, slots=True)
class Entry:
    """An event for the log of an organization, and what is used up with it."""

    organization_id: str
    event: Event
    used: tuple[Used, ...] = ()
    apply: Callable[[Tx], bool] | None = None
    """What else has to be written with it: whether it could be. If not, nothing of the entry is."""


Answer = bool | Exception
Waiter = asyncio.Future[bool] | Future[bool]


class Journal:
    """What one process records. A thread of its own writes, from `start` to `stop`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[Entry, Waiter]] = []
        self._changed = threading.Condition()
        self._ripe = self._asked = self._ended = False
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and take nothing more. The event loop must go on meanwhile, so this is for a thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def record(self, entry: Entry) -> asyncio.Future[bool]:
        """For the event loop: True once the entry is committed; False if its mark was there already, and it was not.

        Raises a Problem (audit-unavailable, unavailable, storage-full) where it may not have been written.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._put(entry, future)
        if not self._asked:
            # What one pass of the loop records goes together, be the disk ever so fast: a transaction costs as much
            # processor time as issuing several tokens.
            self._asked = True
            loop.call_soon(self._ripen)
        return future

    def record_now(self, entry: Entry) -> bool:
        """The same for a thread, which waits."""
        future: Future[bool] = Future()
        self._put(entry, future)
        self._ripen()
        return future.result()

    def _put(self, entry: Entry, waiter: Waiter) -> None:
        with self._changed:
            if self._ended or len(self._waiting) >= MOST_WAITING:
                why = "the service stops" if self._ended else "too much waits for the audit log"
                raise Problem("unavailable", "The database is busy; try again.", reason=why)
            self._waiting.append((entry, waiter))

    def _ripen(self) -> None:
        """What waits may be written."""
        with self._changed:
            self._ripe, self._asked = True, False
            self._changed.notify()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._ripe and not self._ended:
                    self._changed.wait()
                taken, self._waiting, self._ripe = self._waiting, [], False
                if not taken and self._ended:
                    return
            if not taken:
                continue
            answers = self._answers([entry for entry, _ in taken])
            _resolve([(waiter, answer) for (_, waiter), answer in zip(taken, answers, strict=True)])

    def _answers(self, entries: Sequence[Entry]) -> Sequence[Answer]:
        """What became of each. Where one that cannot be written made all fail, each is tried by itself, once."""
        try:
            with patience.within(patience.REQUEST):
                return self._store.write_on((), write, entries)
        except Exception as error:  # whoever waits is told, and the thread must live
            failure = error
        if len(entries) == 1 or _concerns_all(failure):
            return [failure] * len(entries)
        answers: list[Answer] = []
        for number, entry in enumerate(entries):
            (answer,) = self._answers([entry])
            if isinstance(answer, Exception) and _concerns_all(answer):
                return answers + [answer] * (len(entries) - number)
            answers.append(answer)
        return answers


def write(tx: Tx, entries: Sequence[Entry]) -> list[bool]:
    """Write the entries whose marks nobody has used yet; whether each was written."""
    first: dict[bytes, int] = {}
    used = []
    for number, entry in enumerate(entries):
        for each in entry.used:
            if each.digest not in first:
                first[each.digest] = number
                used.append(each)
    new = use_up(tx, used)
    won = [
        all(first[each.digest] == number and each.digest in new for each in entry.used)
        for number, entry in enumerate(entries)
    ]
    written = [
        first_with_it and (entry.apply is None or entry.apply(tx))
        for entry, first_with_it in zip(entries, won, strict=True)
    ]
    # Whoever was not first with the rest may look again, with the same proof.
    unused = [
        each.digest
        for entry, first_with_it, done in zip(entries, won, written, strict=True)
        if first_with_it and not done
        for each in entry.used
    ]
    if unused:
        tx.execute(marks.delete().where(marks.c.digest.in_(unused)))
    tx.record_all(
        [(entry.organization_id, entry.event) for entry, done in zip(entries, written, strict=True) if done]
    )
    return written


def use_up(tx: Tx, used: Sequence[Used]) -> set[bytes]:
    """Set these marks, each of another digest; the digests of those that nobody had set before."""
    rows = [{"digest": each.digest, "expires_at": each.expires_at} for each in used]
    return engines.insert_new(tx.connection, marks, rows, marks.c.digest, marks.c.digest) if rows else set()


def _concerns_all(failure: Exception) -> bool:
    return isinstance(failure, Problem) and failure.code in _FOR_ALL


def _resolve(answers: Sequence[tuple[Waiter, Answer]]) -> None:
    """Tell those who wait: threads at once, each event loop in one call."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, Answer]]] = {}
    for waiter, answer in answers:
        if isinstance(waiter, Future):
            _tell([(waiter, answer)])
        else:
            loops.setdefault(waiter.get_loop(), []).append((waiter, answer))
    for loop, told in loops.items():
        try:
            loop.call_soon_threadsafe(_tell, told)
        except RuntimeError:  # the loop has been closed, and nobody waits any more
            continue


def _tell(answers: Sequence[tuple[Waiter, Answer]]) -> None:
    for waiter, answer in answers:
        if waiter.done():  # whoever waited has gone away
            continue
        if isinstance(answer, bool):
            waiter.set_result(answer)
        else:
            # Raised once for each: an exception keeps the traces of all who raised it.
            waiter.set_exception(replace(answer) if isinstance(answer, Problem) else answer)
