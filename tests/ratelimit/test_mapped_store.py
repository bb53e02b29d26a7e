"""P10 in the table: a limit holds with several processes and threads, a full table, a clock set back, and after a
crash."""

import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostiary.core.instant import DAY, HOUR, MINUTE, SECOND, Instant
from ostiary.ratelimit.mapped_store import SHARED, MappedRateLimitStore
from tests.cast import NOON
from tests.core.test_rate import is_kept
from tests.servers import PATIENCE

pytestmark = pytest.mark.promise("P10")

KEY = b"k" * 32


@pytest.fixture
def permits(tmp_path: Path) -> Iterator[MappedRateLimitStore]:
    found = MappedRateLimitStore(tmp_path / "permits", KEY)
    yield found
    found.close()


def uses(permits: MappedRateLimitStore, name: str, limit: int, now: Instant, asked: int = 2000) -> int:
    return sum(permits.take(name, limit, now).allowed for _ in range(asked))


def test_the_file_is_its_owners_only(permits: MappedRateLimitStore, tmp_path: Path) -> None:
    """P7 breaks: other users of the machine can change how much of a limit is used up."""
    assert stat.S_IMODE((tmp_path / "permits").stat().st_mode) == 0o600


@pytest.mark.parametrize("limit", [1, 2, 60, 127, 128, 1000])
def test_the_limit_then_one_each_interval(permits: MappedRateLimitStore, limit: int) -> None:
    """P10 breaks: a key gets more or less than its limit."""
    assert uses(permits, "key", limit, NOON) == limit
    assert uses(permits, "key", limit, NOON + MINUTE // limit + 1) == 1
    assert uses(permits, "other", limit, NOON) == limit


def test_what_is_left_is_told_after_each_use(permits: MappedRateLimitStore) -> None:
    """P10 breaks: `remaining` changes erratically, or is too high."""
    for number in range(300):
        permit = permits.take("key", 300, NOON)
        assert (permit.allowed, permit.remaining) == (True, 299 - number)
    refused = permits.take("key", 300, NOON)
    assert (refused.allowed, refused.remaining, refused.reset, refused.wait) == (False, 0, 60, 1)


def test_what_was_used_is_remembered_by_the_next_process(tmp_path: Path) -> None:
    """P10 breaks: a restart of the service resets limits."""
    first = MappedRateLimitStore(tmp_path / "permits", KEY)
    assert uses(first, "key", 60, NOON) == 60
    first.close()
    second = MappedRateLimitStore(tmp_path / "permits", KEY)
    assert uses(second, "key", 60, NOON) == 0
    second.close()


def test_another_limit_holds_at_once(permits: MappedRateLimitStore) -> None:
    """P10 breaks: after a limit was lowered, slots leased under the old one are spent."""
    assert uses(permits, "key", 1000, NOON, asked=3) == 3
    # At most three leases of the minute are used up. The rest of the minute is divided by the new limit.
    assert uses(permits, "key", 10, NOON) == 9
    assert uses(permits, "key", 1000, NOON) <= 1000 - 3 - 9 * 100


def test_a_clock_put_back_locks_nobody_out(permits: MappedRateLimitStore) -> None:
    """P10 breaks: after a clock was set back, keys are refused until the old time is reached."""
    assert uses(permits, "leased", 1000, NOON, asked=10) == 10
    assert uses(permits, "key", 60, NOON) == 60
    early = NOON - HOUR
    assert uses(permits, "key", 60, early) == 0
    assert uses(permits, "key", 60, early + 3 * SECOND) > 0
    assert uses(permits, "key", 60, early + 2 * MINUTE) == 60
    assert uses(permits, "leased", 1000, early) <= 1000
    assert uses(permits, "leased", 1000, early + 3 * SECOND) > 0


def test_slots_in_hand_are_not_taken_back_in_time(permits: MappedRateLimitStore, tmp_path: Path) -> None:
    """P10 breaks: after a clock was set back, leased slots are spent in addition to the limit."""
    assert uses(permits, "key", 1000, NOON, asked=700) == 700
    other = MappedRateLimitStore(tmp_path / "permits", KEY)
    uses(other, "key", 1000, NOON - HOUR)
    assert uses(other, "key", 1000, NOON - HOUR + 2 * MINUTE) == 1000
    assert uses(permits, "key", 1000, NOON - HOUR + 2 * MINUTE) == 0
    other.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    entries=st.sampled_from([8, 9, 16]),
    steps=st.lists(
        st.tuples(
            st.integers(0, 24),
            st.one_of(st.just(0), st.integers(0, 30 * SECOND), st.just(2 * MINUTE)),
            st.integers(1, 30),
        ),
        max_size=60,
    ),
)
def test_a_full_table_lets_nothing_more_through(
    tmp_path_factory: pytest.TempPathFactory, entries: int, steps: list[tuple[int, int, int]]
) -> None:
    """P10 breaks: with more keys than entries, a key gets more than its limit."""
    permits = MappedRateLimitStore(tmp_path_factory.mktemp("full") / "permits", KEY, entries)
    now = NOON
    accepted: dict[int, list[Instant]] = defaultdict(list)
    for which, length, asked in steps:
        now += length
        limit = (1, 5, 20, 128)[which % 4]
        accepted[which] += [now] * uses(permits, f"key {which}", limit, now, asked)
    permits.close()
    for which, times in accepted.items():
        assert is_kept((1, 5, 20, 128)[which % 4], times)


def test_a_key_that_shares_goes_on_sharing(tmp_path: Path) -> None:
    """P10 breaks: a key that shares an entry moves to a free one, and gets its limit again."""
    permits = MappedRateLimitStore(tmp_path / "permits", KEY, 8)
    for number in range(6):
        uses(permits, f"a minute {number}", 1, NOON)
    uses(permits, "ten seconds", 6, NOON, asked=1)
    uses(permits, "three seconds", 20, NOON, asked=1)
    assert uses(permits, "shares with the last", 20, NOON) == 19
    assert uses(permits, "three seconds", 20, NOON) == 0
    assert uses(permits, "shares with the last", 20, NOON + 15 * SECOND) == 5
    permits.close()


def test_of_two_shared_entries_the_fuller_one_counts(tmp_path: Path) -> None:
    """P10 breaks: a key whose entry became shared is counted in another shared entry, which has more left."""
    permits = MappedRateLimitStore(tmp_path / "permits", KEY, 8)
    for at, ahead in enumerate((30, 60, 10)):
        permits._view[2 * at], permits._view[2 * at + 1] = SHARED, NOON + ahead * SECOND
    assert uses(permits, "key", 20, NOON) == 0
    permits.close()


def test_a_full_table_has_room_again_after_a_minute(tmp_path: Path) -> None:
    """P10 breaks: once the table was full, keys keep sharing entries."""
    permits = MappedRateLimitStore(tmp_path / "permits", KEY, 8)
    for number in range(100):
        uses(permits, f"key {number}", 20, NOON, 20)
    later = NOON + 2 * MINUTE
    assert uses(permits, "one", 20, later) == 20
    assert uses(permits, "two", 20, later) == 20
    permits.close()


def test_a_clock_that_was_ahead_leaves_no_full_table(tmp_path: Path) -> None:
    """P10 breaks: entries from a clock that was a day ahead block the table for a day."""
    permits = MappedRateLimitStore(tmp_path / "permits", KEY, 8)
    for number in range(8):
        uses(permits, f"key {number}", 20, NOON + DAY, asked=1)
    uses(permits, "one", 20, NOON)
    later = NOON + 3 * MINUTE
    assert uses(permits, "one", 20, later) == 20
    assert uses(permits, "two", 20, later) == 20
    permits.close()


@pytest.mark.parametrize(("limit", "names"), [(1000, 3), (100, 600)])
def test_threads_keep_it_together(permits: MappedRateLimitStore, limit: int, names: int) -> None:
    """P10 breaks: two threads of a process spend the same slot, leased or not."""
    counts: Counter[int] = Counter()
    counting = threading.Lock()

    def run() -> None:
        for name in range(names):
            found = uses(permits, str(name), limit, NOON, limit)
            with counting:
                counts[name] += found

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    # If two threads lease at once, one lease may be lost, but no slot is spent twice.
    assert all(0.9 * limit < count <= limit for count in counts.values())


PROCESS = """
import json, sys, time
from pathlib import Path
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
permits, limit = MappedRateLimitStore(Path(sys.argv[1]), b"k" * 32), int(sys.argv[2])
print("ready", flush=True)
end = int(sys.stdin.readline())
accepted, now = [], 0
while now < end:
    now = time.time_ns() // 1000
    if permits.take("key", limit, now).allowed:
        accepted.append(now)
print(json.dumps(accepted))
"""


@pytest.mark.parametrize("limit", [10, 1000, 60_000])
def test_processes_keep_it_together(tmp_path: Path, limit: int) -> None:
    """P10 breaks: two workers of a node together allow more than the limit."""
    path = str(tmp_path / "permits")
    command = [sys.executable, "-c", PROCESS, path, str(limit)]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    end = f"{time.time_ns() // 1000 + SECOND // 2}\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write(end)
        process.stdin.flush()
    accepted: list[Instant] = []
    for process in running:
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        accepted += json.loads(out)
    accepted.sort()
    # The whole test is within one window.
    assert len(accepted) <= limit + limit * (accepted[-1] - accepted[0]) / MINUTE
    assert len(accepted) >= min(limit, 1000) * 0.9
    if limit <= 1000:
        assert is_kept(limit, accepted)


CRASH = """
import fcntl, os, signal, sys
from pathlib import Path
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
permits = MappedRateLimitStore(Path(sys.argv[1]), b"k" * 32)
permits.take("key", 60, int(sys.argv[2]))
fcntl.flock(permits._fd, fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_crash_with_the_lock_in_hand_blocks_nobody(tmp_path: Path) -> None:
    """P10 breaks: after a worker was killed, the others wait for the table for ever."""
    path = tmp_path / "permits"
    done = subprocess.run([sys.executable, "-c", CRASH, str(path), str(NOON)], timeout=PATIENCE, check=False)
    assert done.returncode == -9
    permits = MappedRateLimitStore(path, KEY)
    assert uses(permits, "key", 60, NOON) == 59
    permits.close()


def test_what_is_given_back_may_be_used_again(permits: MappedRateLimitStore) -> None:
    """P10 breaks: look-ups of valid keys use up their address's budget for failures."""
    for _ in range(200):
        permit = permits.take("address", 50, NOON)
        assert permit.allowed
        permits.give_back("address", permit, NOON)
    assert uses(permits, "address", 50, NOON) == 50


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[int]:
    """Another process holds the table's lock and was stopped."""
    held = os.open(tmp_path / "permits", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    yield held
    os.close(held)


@pytest.mark.parametrize("limit", [1, 50, 1000])
def test_a_process_stopped_with_the_lock_in_hand_stops_no_other(
    stopped: int, permits: MappedRateLimitStore, limit: int
) -> None:
    """P10 breaks: one stopped worker blocks all others, or disables every limit."""
    refused = permits.take("key", limit, NOON)
    assert (refused.allowed, refused.remaining, refused.wait) == (False, 0, 1)
    assert uses(permits, "key", limit, NOON) == 0
    fcntl.flock(stopped, fcntl.LOCK_UN)
    assert uses(permits, "key", limit, NOON) == limit


def test_who_waited_in_vain_for_the_lock_does_not_wait_again(
    stopped: int, permits: MappedRateLimitStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P10 breaks: while a worker is stopped, each request delays the others by the longest wait."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert uses(permits, "key", 50, NOON) == 0
    assert 0 < sum(pauses) < 0.05
    fcntl.flock(stopped, fcntl.LOCK_UN)
    assert uses(permits, "key", 50, NOON) == 50


def test_a_permit_that_cannot_be_given_back_stays_used(tmp_path: Path, permits: MappedRateLimitStore) -> None:
    """P10 breaks: a refund waits for a stopped worker, or changes the table without the lock."""
    permit = permits.take("address", 50, NOON)
    with (tmp_path / "permits").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        permits.give_back("address", permit, NOON)
    assert uses(permits, "address", 50, NOON) == 49
