"""What may be lost is bounded while it is kept; a look that everyone waits for is made once."""

import socket
import threading

import pytest

from ostiary.core.problem import Problem
from ostiary.storage import directory, engines
from ostiary.storage.store import Store
from ostiary.storage.volatile import Counts, Occasion
from tests.cast import Front, House


def occasion(number: int, reason: str = "unknown") -> Occasion:
    return Occasion(False, reason, f"192.0.2.{number}", "verify")


def test_counts_are_bounded_and_lose_nothing() -> None:
    """P20 breaks: failures from many addresses fill the memory, or are not counted at all."""
    counts = Counts(capacity=10)
    for round_ in range(5):
        for number in range(100):
            counts.add(occasion(number), round_)
        counts.give_back(counts.take())
    kept = counts.take()
    assert len(kept) <= 11
    assert sum(count.number for count in kept.values()) == 500
    assert {count.first for count in kept.values()} == {0}
    assert {count.last for count in kept.values()} == {4}


def test_those_who_wait_for_a_look_share_it(front: Front) -> None:
    """P11 breaks: requests queue up for one look at the database each."""
    looks = []
    facts = front.facts
    inner = facts._look

    def look() -> None:
        looks.append(1)
        inner()

    facts._look = look  # type: ignore[method-assign] # counted, not replaced
    front.house.number.increase()
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


@pytest.mark.full
@pytest.mark.promise("P11")
def test_a_database_that_says_nothing_is_unavailable(sqlite_house: House) -> None:
    """P11 breaks: a server that accepts connections and hangs is a fault of ours (500)."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = engines.connect(f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d")
        store = Store(hung, sqlite_house.store.installation, sqlite_house.clock, sqlite_house.store.entropy)
        with pytest.raises(Problem) as found:
            store.read(directory.find_operator)
        assert found.value.code == "unavailable"
        hung.dispose()
