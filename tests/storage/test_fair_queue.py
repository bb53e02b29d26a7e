"""First come, first served: threads and processes get the database in order, and no turn is lost."""

import fcntl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ostiary.core.problem import Problem
from ostiary.storage import engines
from ostiary.storage.engines import Engines
from ostiary.storage.fair_queue import Turns, next_in_line
from ostiary.storage.store import Store, Tx
from tests.cast import House

PATIENCE_MS = 30_000
WAITING = 5


class Queue(deque[Any]):
    """A queue that reports when a thread has joined it."""

    def __init__(self) -> None:
        super().__init__()
        self._joined = threading.Semaphore(0)

    def append(self, item: Any, /) -> None:
        super().append(item)
        self._joined.release()

    def wait_for_one(self) -> None:
        assert self._joined.acquire(timeout=PATIENCE_MS / 1000)


class Moment:
    """A lock that runs something else before it is taken for the third time."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._happens = happens

    def __enter__(self) -> None:
        self._taken += 1
        if self._taken == 3:
            self._happens()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def watched(number: int) -> tuple[Turns, Queue]:
    turns, queue = Turns(number, PATIENCE_MS), Queue()
    turns._queue = queue  # instrumented, same behaviour
    return turns, queue


def is_whole(turns: Turns, number: int) -> bool:
    return turns._free == number and turns.waiting() == 0


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def impatient(store: Store) -> Store:
    """The same database, with one turn and a very short wait for it."""
    return replace(store, engines=replace(store.engines, writing=Turns(1, 10)))


def test_whoever_came_first_is_served_first() -> None:
    """S8 breaks: a thread that asked late overtakes those that wait."""
    turns, queue = watched(1)
    served: list[int] = []

    def serve(number: int) -> None:
        with turns.turn():
            served.append(number)

    threads = []
    with turns.turn():
        for number in range(WAITING):
            threads.append(started(lambda number=number: serve(number)))  # type: ignore[misc] # the value, not the name
            queue.wait_for_one()
        assert served == []
    for thread in threads:
        thread.join()
    assert served == list(range(WAITING))
    assert is_whole(turns, 1)


def test_whoever_comes_back_at_once_stands_behind_those_who_wait() -> None:
    """S8 breaks: a thread that writes without pause keeps all others from writing."""
    turns, queue = watched(1)
    served = []

    def other() -> None:
        with turns.turn():
            served.append("the one who waited")

    with turns.turn():
        thread = started(other)
        queue.wait_for_one()
    with turns.turn():
        served.append("the one who came back")
    thread.join()
    assert served == ["the one who waited", "the one who came back"]


def test_as_many_at_a_time_as_there_are_turns() -> None:
    """S8 breaks: only one of several connections is used, or more are requested than exist."""
    turns, queue = watched(2)
    entered = threading.Event()

    def enter() -> None:
        with turns.turn():
            entered.set()

    with turns.turn():
        with turns.turn():
            thread = started(enter)
            queue.wait_for_one()
            assert not entered.is_set()
        assert entered.wait(PATIENCE_MS / 1000)
        thread.join()
    assert is_whole(turns, 2)


def test_whoever_waited_too_long_leaves_the_queue() -> None:
    """P11 breaks: a request waits for ever, or a turn goes to a thread that has given up."""
    turns = Turns(1, 10)
    with turns.turn():
        for _ in range(2):
            with pytest.raises(PoolTimeoutError), turns.turn():
                pass
        assert turns.waiting() == 0
    assert is_whole(turns, 1)


def test_a_turn_handed_over_as_the_time_ended_is_not_lost() -> None:
    """P11 breaks: now and then a turn is lost, until no thread can write any more."""
    turns = Turns(1, 0)
    first = turns.turn()
    turns._lock = Moment(lambda: first.__exit__(None, None, None))  # type: ignore[assignment] # watched, not replaced
    first.__enter__()
    with turns.turn():
        assert turns._free == 0
    assert is_whole(turns, 1)


def test_a_writer_whose_turn_does_not_come_is_told_so(house: House) -> None:
    """P11 breaks: a busy database causes a server error, and is not counted."""
    store = impatient(house.store)
    with store.engines.writing.turn(), pytest.raises(Problem) as refused:
        store.write_on((), lambda tx: tx.confirm())
    assert (refused.value.code, refused.value.reason) == ("unavailable", "pool time-out")
    assert store.errors["pool time-out"] >= 1
    store.write_on((), lambda tx: tx.confirm())


def test_work_that_fails_gives_its_turn_back(house: House) -> None:
    """P11 breaks: after some refused requests no thread can write any more."""
    store = impatient(house.store)

    def refuse(_tx: Tx) -> None:
        raise Problem("not-found", "There is nothing of this name.")

    for _ in range(2):
        with pytest.raises(Problem, match="nothing of this name"):
            store.write_on((), refuse)
        with pytest.raises(sa.exc.StatementError):
            store.write_on((), lambda tx: tx.execute(sa.text("SELECT :nothing")))
    assert is_whole(store.engines.writing, 1)
    store.write_on((), lambda tx: tx.confirm())


@pytest.fixture
def other(sqlite_house: House) -> Iterator[Engines]:
    """Another process on the same database: a file lock belongs to the process that opened the file."""
    url = sqlite_house.store.engines.writer.url.render_as_string(hide_password=False)
    found = engines.connect(url)
    yield found
    found.dispose()


def test_a_process_that_writes_without_pause_lets_another_one_write(
    sqlite_house: House, other: Engines
) -> None:
    """S8 breaks: with two workers on SQLite, the busy one starves the other."""
    refused = threading.Event()
    sa.event.listen(other.writer, "handle_error", lambda _context: refused.set())
    store, written = sqlite_house.store, []

    def write() -> None:
        replace(store, engines=other).write_on((), lambda _tx: written.append("the one that waited"))

    def hold(_tx: Tx) -> threading.Thread:
        thread = started(write)
        assert refused.wait(PATIENCE_MS / 1000)  # it has tried to take the lock, and failed
        return thread

    thread = store.write_on((), hold)
    store.write_on((), lambda _tx: written.append("the one without pause"))
    thread.join()
    assert written == ["the one that waited", "the one without pause"]


def test_one_process_at_a_time_is_the_next(tmp_path: Path) -> None:
    """S8 breaks: two processes try to take the lock at once, and one of them may never get it."""
    path = tmp_path / "queue"
    with next_in_line(path, 10):
        with path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with next_in_line(path, 10):
            pass  # a process that was stopped in the line blocks others only for a while
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_writers_do_without_the_line_where_its_file_cannot_be_had(tmp_path: Path) -> None:
    """P11 breaks: a file that only creates an order prevents all writes."""
    with next_in_line(tmp_path / "no such directory" / "queue", 10):
        pass
    with next_in_line(tmp_path, 10):
        pass
