"""A database that hangs: waits end, and other callers do not wait."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from ostiary.core.problem import Problem
from ostiary.storage import engines, failures, patience
from ostiary.storage.engines import Engines
from ostiary.storage.patience import Gate
from ostiary.storage.store import Store, Tx
from tests.cast import House
from tests.hanging import Network

pytestmark = pytest.mark.promise("P11")


class Stopwatch:
    """A clock that only the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    return Stopwatch(monkeypatch)


def test_all_waits_of_a_request_take_so_long_together(watch: Stopwatch) -> None:
    """P11 breaks: each step of a request waits for its full time, and the response comes after the sum."""
    assert patience.left(3) == 3
    with patience.within(4):
        with patience.waiting(3) as most:
            assert most == 3
            watch.now += 2.5
        watch.now += 60  # the process's own work is not a wait
        assert patience.left(3) == 1.5
        with patience.within(2):
            with patience.waiting(3) as most:
                assert most == 1.5
                watch.now += 1
            assert patience.left(3) == 0.5
        assert patience.left(3) == 0.5
        with patience.waiting(3):
            watch.now += 1
        assert patience.left(3) == 0
    assert patience.left(3) == 3


def refused(gate: Gate) -> bool:
    try:
        gate.enter()
    except Problem:
        return True
    return False


def test_after_a_wait_in_vain_one_tries_and_the_others_are_refused_at_once(watch: Stopwatch) -> None:
    """P11 breaks: while the database hangs, every request waits, and no threads are left."""
    gate = Gate()
    assert not refused(gate)
    gate.shut()
    assert refused(gate)
    watch.now += patience.PAUSE
    assert [refused(gate) for _ in range(3)] == [False, True, True]
    gate.shut()  # the database hung again
    watch.now += patience.PAUSE
    assert [refused(gate) for _ in range(3)] == [False, True, True]
    gate.open()
    assert [refused(gate) for _ in range(3)] == [False, False, False]


def test_who_was_let_through_and_never_said_what_it_found_keeps_nobody_out(watch: Stopwatch) -> None:
    """P11 breaks: after an outage the service refuses everything until it is restarted."""
    gate = Gate()
    gate.shut()
    watch.now += patience.PAUSE
    assert [refused(gate), refused(gate)] == [False, True]
    watch.now += patience.SILENCE + patience.PAUSE
    assert not refused(gate)


def look(tx: Tx) -> None:
    assert tx.execute(sa.text("SELECT count(*) FROM organizations")).scalar()


def read(store: Store) -> str:
    return told(lambda: store.read(look))


def written(store: Store) -> str:
    return told(lambda: store.write_on((), look))


def told(way: Callable[[], None]) -> str:
    try:
        way()
    except Problem as problem:
        return f"{problem.code}: {problem.reason}"
    return "done"


@pytest.fixture
def network(postgresql_house: House) -> Iterator[Network]:
    port = urlsplit(url_of(postgresql_house.store)).port
    assert port is not None
    with Network(port) as found:
        yield found


@pytest.fixture
def behind(postgresql_house: House, network: Network) -> Iterator[Store]:
    """Acme's store, with a controllable network between it and the database."""
    url = sa.make_url(url_of(postgresql_house.store)).set(drivername="postgresql", port=network.port)
    found = engines.connect(url.render_as_string(hide_password=False))
    yield replace(postgresql_house.store, engines=found, errors={})
    found.dispose()


def url_of(store: Store) -> str:
    return store.engines.reader.url.render_as_string(hide_password=False)


SHUT = "unavailable: the database hung a moment ago"
HUNG = "unavailable: no answer"


@pytest.mark.full
@pytest.mark.parametrize("warm", [True, False], ids=["connected", "not connected"])
def test_a_server_that_says_nothing_is_not_waited_for(behind: Store, network: Network, warm: bool) -> None:
    """P11 breaks: a network partition blocks threads for minutes, or the service must be restarted after it."""
    if warm:
        assert (read(behind), written(behind)) == ("done", "done")
    with network.cut():
        assert [read(behind), read(behind)] == [HUNG, SHUT]
        assert [written(behind), written(behind)] == [HUNG, SHUT]
    for gate in (behind.engines.reads, behind.engines.writes):
        gate.open()  # otherwise it opens by itself after a pause
    assert (read(behind), written(behind)) == ("done", "done")


@pytest.mark.full
@pytest.mark.parametrize(("direction", "happened"), [("back", True), ("there", False)])
def test_a_commit_without_an_answer_is_neither_acknowledged_nor_run_again(
    behind: Store, network: Network, postgresql_house: House, direction: str, happened: bool
) -> None:
    """P3, P11 break: a commit with unknown result is reported as done, or is made twice."""
    ran = 0

    def rename(tx: Tx) -> None:
        nonlocal ran
        ran += 1
        tx.execute(sa.text("UPDATE organizations SET name = 'Renamed' WHERE operator"))

    def named() -> str:
        return str(
            postgresql_house.store.read(
                lambda tx: tx.execute(sa.text("SELECT name FROM organizations WHERE operator")).scalar()
            )
        )

    assert written(behind) == "done"
    cut = network.cut(direction)  # type: ignore[arg-type] # one of the two
    sa.event.listen(behind.engines.writer, "commit", lambda _connection: cut.__enter__(), once=True)
    with pytest.raises(Problem) as caught:
        behind.write_on((), rename)
    assert (caught.value.code, caught.value.reason, ran) == ("unavailable", "no answer", 1)
    assert (named() == "Renamed") is happened
    cut.__exit__(None, None, None)
    behind.engines.writes.open()
    assert written(behind) == "done"
    assert ran == 1


@pytest.mark.full
def test_a_request_that_has_waited_enough_does_not_shut_out_the_others(
    behind: Store, network: Network
) -> None:
    """P11 breaks: one slow request makes the service refuse all others."""
    with network.cut(), patience.within(0.01):
        assert (read(behind), written(behind)) == (HUNG, HUNG)
    assert (read(behind), written(behind)) == ("done", "done")


@pytest.fixture
def other(sqlite_house: House) -> Iterator[Engines]:
    """Another process with the same database file."""
    found = engines.connect(url_of(sqlite_house.store))
    yield found
    found.dispose()


def test_a_locked_file_is_waited_for_once(sqlite_house: House, other: Engines) -> None:
    """P11 breaks: while another process keeps SQLite locked, writers wait one after another, for minutes in all."""
    store, tried, said = sqlite_house.store, [], []
    sa.event.listen(store.engines.writer, "checkout", lambda *_: tried.append(1))
    with other.writer.begin():
        threads = [threading.Thread(target=lambda: said.append(written(store))) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert read(store) == "done"  # readers do not wait
        for thread in threads:
            thread.join()
        assert "unavailable: locked" in said
        assert all(each.startswith("unavailable: ") for each in said)
        assert len(tried) < len(threads)
        assert written(store) == SHUT
    store.engines.writes.open()
    assert written(store) == "done"


def test_opening_a_file_that_is_locked_ends(sqlite_house: House) -> None:
    """P11 breaks: while another program keeps the file locked, a command waits for ever or reports damage."""
    store = sqlite_house.store
    store.engines.dispose()
    with contextlib.closing(engines.sqlite_module.connect(store.engines.reader.url.database)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Problem) as caught:
            store.read(look)
    assert caught.value.reason == "locked"
    assert "keeps the database locked" in str(failures.advice(caught.value))
