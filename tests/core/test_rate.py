"""P10 in pure form: slots, leases and refunds keep a limit in every window, and allow all that it permits."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ostiary.core import rate as rates
from ostiary.core.instant import HOUR, MINUTE, SECOND, Instant
from ostiary.core.rate import MAX_RATE, Permit, Rate, rate_of
from tests.cast import NOON

pytestmark = pytest.mark.promise("P10")

LIMITS = st.one_of(st.sampled_from([1, 2, 7, 60, 127, 128, 1000, MAX_RATE]), st.integers(1, MAX_RATE))


@dataclass(slots=True)
class Table:
    """The state that workers share: the time of the next slot."""

    tat: Instant = 0


@dataclass(slots=True)
class Worker:
    """One process: spends its leased slots, then leases again, as `ratelimit.mapped_store` does."""

    table: Table
    rate: Rate
    slots: Iterator[Instant] = field(default_factory=lambda: iter(()))

    def use(self, now: Instant) -> bool:
        if any(rates.in_time(self.rate, slot, now) for slot in self.slots):
            return True
        first, count = rates.take(self.rate, self.table.tat, now)
        self.table.tat = first + count * self.rate.interval
        self.slots = iter(range(first + self.rate.interval, self.table.tat, self.rate.interval))
        return count > 0


def is_kept(limit: int, accepted: list[Instant]) -> bool:
    """Return whether each window that begins and ends with an accepted use has at most N + N t / 60 of them."""
    return all(
        last - first + 1 <= limit + Fraction(limit * (accepted[last] - accepted[first]), MINUTE)
        for first in range(len(accepted))
        for last in range(first + limit, len(accepted))
    )


@given(
    limit=st.one_of(st.integers(1, 40), LIMITS),
    lease=st.integers(1, 16),
    steps=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.one_of(
                st.just(0),
                st.integers(0, SECOND),
                st.integers(0, 2 * MINUTE),
                st.sampled_from([MINUTE, HOUR]),
            ),
            st.integers(1, 60),
        ),
        max_size=12,
    ),
)
@example(limit=16, lease=16, steps=[(0, 0, 1), (1, MINUTE, 60), (0, 0, 60), (2, MINUTE, 60), (0, 0, 60)])
def test_no_window_holds_more(limit: int, lease: int, steps: list[tuple[int, int, int]]) -> None:
    """P10 breaks: several workers with leases together allow more than the limit."""
    rate = replace(rate_of(limit), lease=lease)
    table = Table()
    workers = [Worker(table, rate) for _ in range(4)]
    now, accepted = NOON, []
    for who, length, uses in steps:
        now += length
        accepted += [now for _ in range(uses) if workers[who].use(now)]
    assert is_kept(limit, accepted)


@given(limit=st.integers(1, 3000))
def test_one_worker_gets_the_whole_limit_at_once_and_then_one_each_interval(limit: int) -> None:
    """P10 breaks: a client that keeps to the limit is refused."""
    rate = rate_of(limit)
    worker = Worker(Table(), rate)
    assert sum(worker.use(NOON) for _ in range(limit + 10)) == limit
    assert not worker.use(NOON + rate.interval - 1)
    assert worker.use(NOON + rate.interval)
    assert not worker.use(NOON + rate.interval)


@given(limit=LIMITS)
def test_a_minutes_slots_are_no_shorter_than_a_minute(limit: int) -> None:
    """P10 breaks: intervals are rounded down, so that a minute has one slot too many."""
    rate = rate_of(limit)
    assert MINUTE <= limit * rate.interval < MINUTE + limit


@given(limit=LIMITS, workers=st.integers(2, 8))
def test_what_is_missing_at_first_is_what_others_hold(limit: int, workers: int) -> None:
    """P10 breaks: leases cost a customer more than the few slots that other workers hold."""
    rate = rate_of(limit)
    table = Table()
    others = [Worker(table, rate) for _ in range(workers - 1)]
    used = sum(each.use(NOON) for each in others)
    held = (table.tat - NOON) // rate.interval - used
    free = (NOON + limit * rate.interval - table.tat) // rate.interval
    assert held <= (workers - 1) * (rate.lease - 1)
    assert used + held + free == limit
    one, count = Worker(table, rate), 0
    while count < 3000 and one.use(NOON):
        count += 1
    assert count == min(free, 3000)


@given(limit=LIMITS, pause=st.integers(0, 2 * MINUTE))
def test_who_keeps_to_the_interval_is_never_refused(limit: int, pause: int) -> None:
    """P10 breaks: a steady client within its limit is refused because leased slots expired."""
    rate = rate_of(limit)
    worker = Worker(Table(), rate)
    now = NOON
    for _ in range(40):
        assert worker.use(now)
        now += max(rate.interval, pause)


@given(limit=LIMITS, back=st.integers(0, 10**15))
def test_a_clock_put_back_locks_nobody_out(limit: int, back: int) -> None:
    """P10 breaks: after a clock was set back, a key is refused until the old time is reached."""
    rate = rate_of(limit)
    table = Table(NOON + limit * rate.interval)
    now = NOON - back
    first, count = rates.take(rate, table.tat, now)
    assert count == 0
    assert first <= now + limit * rate.interval + rates.SKEW
    assert rates.take(rate, first, now + rate.interval + rates.SKEW)[1] > 0


@given(
    limit=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(0, 5), st.booleans()), max_size=40),
)
# A slot that has long been freed by time is refunded while another use is under way.
@example(
    limit=1,
    steps=[
        (0, 0, False),
        (61 * SECOND, 0, False),
        (0, 1, False),
        (0, 0, False),
        (0, 1, True),
        (0, 1, True),
    ],
)
def test_what_is_given_back_never_lets_more_through(limit: int, steps: list[tuple[int, int, bool]]) -> None:
    """P10 breaks: refunds for successful look-ups allow more failed ones than the limit."""
    rate = rate_of(limit)
    tat, now, failed = 0, NOON, []
    open_: list[tuple[Instant, Instant]] = []
    for length, which, fails in steps:
        now += length
        if which and len(open_) >= which:
            slot, taken_at = open_.pop(which - 1)
            if fails:
                failed.append(taken_at)
            else:
                tat -= rates.refund(rate, slot, now)
            continue
        first, count = rates.take(rate, tat, now)
        if count:
            tat = first + rate.interval
            open_.append((first, now))
    assert is_kept(limit, sorted(failed))


def test_a_look_up_that_succeeds_costs_next_to_nothing() -> None:
    """P10 breaks: an address that presents only valid keys uses up its budget for failures."""
    rate = rate_of(50)
    tat, now = 0, NOON
    for _ in range(1000):
        first, count = rates.take(rate, tat, now)
        assert count == 1
        tat = first + rate.interval
        now += 2000
        tat -= rates.refund(rate, first, now)
    assert rates.take(rate, tat, now)[0] - now < SECOND


def test_what_is_left_is_told() -> None:
    """P10 breaks: a client that follows `remaining`, `reset` and `wait` is refused, or waits too long."""
    rate = rate_of(60)
    assert rate.interval == SECOND
    permit = Permit(True, rate, NOON, NOON + SECOND)
    assert (permit.limit, permit.remaining, permit.reset, permit.wait) == (60, 59, 1, 1)
    permit = Permit(True, rate, NOON, NOON + 60 * SECOND)
    assert (permit.remaining, permit.reset, permit.wait) == (0, 60, 1)
    permit = Permit(True, rate_of(1000), NOON, NOON + 15 * 60_000, 14)
    assert (permit.remaining, permit.reset) == (999, 1)
    permit = Permit(True, rate_of(2), NOON, NOON + 30 * SECOND)
    assert (permit.remaining, permit.reset, permit.wait) == (1, 30, 30)
    permit = Permit(True, rate_of(2), NOON, NOON + 40 * SECOND)
    assert (permit.remaining, permit.reset, permit.wait) == (0, 40, 10)
    permit = Permit(False, rate_of(1), NOON, NOON + 17 * SECOND)
    assert (permit.remaining, permit.reset, permit.wait) == (0, 17, 17)


@pytest.mark.parametrize("limit", [0, -1, MAX_RATE + 1])
def test_no_other_limit_is_a_rate(limit: int) -> None:
    """P10 breaks: a limit of zero causes a division by zero."""
    with pytest.raises(ValueError, match="from 1 to"):
        rate_of(limit)
