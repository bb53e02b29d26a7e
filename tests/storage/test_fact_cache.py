"""The cache of facts is bounded, and threads that wait for the same read share it."""

import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ostiary.core import secret
from ostiary.core.model import Standing
from ostiary.core.problem import Problem
from ostiary.services import credentials
from ostiary.storage import directory, engines, fact_cache
from ostiary.storage.engines import Engines
from ostiary.storage.fact_cache import ABSENT, ChangeNumber, FactCache
from ostiary.storage.store import Store
from tests.cast import Entropy, Front, House
from tests.watch import statements

THREADS = 5
PATIENCE = 30.0


@contextmanager
def look_ups(database: Engines, do: Callable[[], object] = lambda: None) -> Iterator[list[str]]:
    """The database look-ups of secrets. Each calling thread also runs the test's action."""
    found: list[str] = []

    def answered(text: str) -> None:
        if "generations" in text:
            found.append(text)
            do()

    with statements(database, answered):
        yield found


class Flight:
    """A lock that reports when a given number of threads wait for it."""

    def __init__(self, waiting: int) -> None:
        self._lock = threading.Lock()
        self._still = threading.Semaphore(0)
        self._waiting = waiting

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:
            self._still.release()
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def wait_for_all(self) -> None:
        for _ in range(self._waiting):
            assert self._still.acquire(timeout=PATIENCE)


def facts_of(house: House, flight: Flight | None = None, **limits: Any) -> FactCache:
    facts = FactCache(house.store, house.number, house.clock.monotonic, 30, **limits)
    if flight is not None:
        facts._flights = (flight,) * fact_cache.FLIGHTS  # type: ignore[assignment] # instrumented, same behaviour
    facts.sync()
    return facts


def unknown(number: int) -> str:
    return secret.access_id(Entropy(number)(16))


def test_those_who_wait_for_a_look_share_it(front: Front) -> None:
    """P11 breaks: waiting requests read the database one after the other."""
    looks = []
    facts = front.facts
    inner = facts._look

    def look() -> None:
        looks.append(1)
        inner()

    facts._look = look  # type: ignore[method-assign] # counts calls, same behaviour
    front.house.number.renew()
    barrier = threading.Barrier(6)

    def wait() -> None:
        barrier.wait()
        facts.catch_up()

    threads = [threading.Thread(target=wait) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looks) == 1
    assert facts.current()


@pytest.mark.promise("P1")
def test_a_change_is_seen_by_all_and_waits_for_nobody(tmp_path: Path) -> None:
    """P1 breaks: a revocation waits for a stopped process, or a change is mistaken for an earlier one."""
    path = tmp_path / "number"
    mine, others = ChangeNumber(path), ChangeNumber(path)
    seen = {mine.read()}
    with path.open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        for number in range(100):
            (mine, others)[number % 2].renew()
            assert mine.read() == others.read()
            seen.add(mine.read())
    assert len(seen) == 101
    # After the file is restored or emptied, no earlier number returns. With a counter, one would.
    os.pwrite(others._fd, bytes(8), 0)
    mine.renew()
    assert mine.read() not in seen
    mine.close()
    others.close()


def test_many_who_ask_for_one_handle_make_one_look_up(sqlite_house: House) -> None:
    """S4 breaks: after a change, all users of a busy key read it from the database at once."""
    flight = Flight(THREADS - 1)
    facts = facts_of(sqlite_house, flight)
    handle = sqlite_house.alice_key[3:35]
    with (
        look_ups(sqlite_house.store.engines, flight.wait_for_all) as found,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        standings = list(pool.map(facts.load_standing, [handle] * THREADS))
    assert len(found) == 1
    assert all(isinstance(each, Standing) and each.access_id == handle for each in standings)


def test_who_waited_for_a_look_up_does_not_believe_what_was_not_kept(sqlite_house: House) -> None:
    """P1 breaks: a request after a revocation is judged by facts that were read before it."""
    house = sqlite_house
    flight = Flight(1)
    facts = facts_of(house, flight)
    key = house.key(house.account())
    facts.sync()
    handle = key.secret.reveal()[3:35]
    has_read, late = threading.Event(), []

    def hold_the_first() -> None:
        if not has_read.is_set():
            has_read.set()
            flight.wait_for_all()  # the request that began after the revocation waits for this read

    def ask_after_revoking() -> None:
        assert has_read.wait(PATIENCE)
        house.store.write(credentials.revoke, house.alice, key.listed.credential.id)
        if not facts.current():
            facts.catch_up()
        late.append(facts.load_standing(handle))

    with look_ups(house.store.engines, hold_the_first) as found, ThreadPoolExecutor(2) as pool:
        early = pool.submit(facts.load_standing, handle)
        pool.submit(ask_after_revoking).result()
    standing = early.result()
    assert standing is not None
    assert standing.revoked_at is None  # this read began before the revocation
    assert [each.revoked_at for each in late if each is not None] == [house.clock.now]
    assert len(found) == 2


def test_a_handle_that_nobody_has_is_looked_up_once(front: Front) -> None:
    """P20 breaks: made-up keys of the right form cost a thread and a query each time."""
    made_up = secret.create("ak-", Entropy(7)(secret.SECRET_ENTROPY)).secret.reveal()
    with look_ups(front.house.store.engines) as found:
        for _ in range(3):
            assert front.verify(made_up)["code"] == "unknown"
            assert front.ask("GET", "/v1/authorize/-", key=made_up).status == 401
    assert len(found) == 2  # Alice's, who sends the request, and this one
    assert front.facts.standing(made_up[3:35]) is ABSENT


def test_handles_that_nobody_has_are_bounded_and_cost_the_others_nothing(sqlite_house: House) -> None:
    """P20 breaks: made-up keys fill the memory, or displace valid ones from the cache."""
    facts = facts_of(sqlite_house, capacity=10)
    good = sqlite_house.alice_key[3:35]
    facts.load_standing(good)
    for number in range(50):
        assert facts.load_standing(unknown(number)) is None
    kept = [number for number in range(50) if facts.standing(unknown(number)) is ABSENT]
    assert kept == list(range(40, 50))
    assert isinstance(facts.standing(good), Standing)


def test_any_change_forgets_who_nobody_is(sqlite_house: House) -> None:
    """P1 breaks: a new key is refused because the cache still says that it does not exist."""
    house = sqlite_house
    facts = facts_of(house)
    assert facts.load_standing(unknown(1)) is None
    house.key(house.account())
    facts.sync()
    assert facts.standing(unknown(1)) is ABSENT  # a new secret's random id cannot have been looked up before
    house.store.write_on((), lambda tx: tx.changed("import", "sa_robo"))
    facts.sync()
    assert facts.standing(unknown(1)) is None


def test_an_import_leaves_the_other_standings_in_memory(sqlite_house: House) -> None:
    """S5 breaks: each batch of an import empties the cache."""
    house = sqlite_house
    facts = facts_of(house)
    facts.load_standing(house.alice_key[3:35])
    house.store.write_on((), lambda tx: tx.changed("import", "sa_robo"))
    facts.sync()
    assert isinstance(facts.standing(house.alice_key[3:35]), Standing)


def test_a_handle_asked_for_during_an_import_is_not_kept_as_absent(sqlite_house: House) -> None:
    """P1 breaks: a key that was looked up just before its import stays refused."""
    house = sqlite_house
    facts = facts_of(house)
    with look_ups(
        house.store.engines, lambda: house.store.write_on((), lambda tx: tx.changed("import", "sa_robo"))
    ):
        assert facts.load_standing(unknown(1)) is None
    assert facts.standing(unknown(1)) is None


@pytest.mark.full
@pytest.mark.promise("P11")
def test_a_database_that_says_nothing_is_unavailable(sqlite_house: House) -> None:
    """P11 breaks: a server that accepts connections and hangs causes a server error (500)."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = engines.connect(f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d")
        store = Store(hung, sqlite_house.store.installation, sqlite_house.clock, sqlite_house.store.entropy)
        with pytest.raises(Problem) as found:
            store.read(directory.find_operator)
        assert found.value.code == "unavailable"
        hung.dispose()
