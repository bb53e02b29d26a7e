"""Rate limits: how many uses a minute, spread so that no window of any length ever holds more.

GCRA by slots, in whole microseconds. A limit of N a minute gives out slots that lie an interval T = 60 s / N apart
(rounded up). A use takes the next slot and must happen within the tolerance τ = (N − 1) T before it, never after it:
so from idle N are let in at once, then one each T, and in t seconds never more than N + N t / 60. All that has to be
remembered is where the next slot lies (`tat`, the theoretical arrival time); one that has passed equals none.

Whoever takes several slots at once (a lease) may spend them later and alone, within the same bounds: each slot is
used once, whoever holds it, so any number of processes together keep the limit. What is not spent in time is lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import length_hint
from typing import Final, NamedTuple

from ostiary.core.instant import MINUTE, SECOND, Instant

MAX_RATE: Final = 1_000_000
"""The highest limit, in uses a minute: beyond it an interval has no digits left."""

SKEW: Final = SECOND
"""How much later than another one a process may have read the clock that it takes slots by."""

LEASED_FROM: Final = 128
LONGEST_LEASE: Final = 16


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of so many uses a minute, and what follows from it, in microseconds."""

    limit: int
    interval: int
    tolerance: int
    lease: int
    """How many slots may be taken at once. Small limits are not leased: what one holds, others miss."""


@lru_cache(maxsize=1024)
def rate_of(limit: int) -> Rate:
    """The rate of a limit, 1 to MAX_RATE uses a minute. ValueError for any other."""
    if not 1 <= limit <= MAX_RATE:
        raise ValueError(f"must be a whole number from 1 to {MAX_RATE}")
    interval = -(-MINUTE // limit)
    lease = min(limit // 64, LONGEST_LEASE) if limit >= LEASED_FROM else 1
    return Rate(limit, interval, (limit - 1) * interval, lease)


def take(rate: Rate, tat: Instant, now: Instant) -> tuple[Instant, int]:
    """The first free slot, and how many from there on may be taken together now; 0: the limit is reached.

    Whoever takes n of them leaves `tat` at the first plus n intervals. Towards the limit fewer are taken at once.
    """
    first = max(now, within_reach(rate, tat, now))
    room = (now + rate.tolerance - first) // rate.interval + 1
    return first, max(0, min(rate.lease, room, 1 + room // 8))


def within_reach(rate: Rate, tat: Instant, now: Instant) -> Instant:
    """`tat`, or that of a limit that is all used up if it lies further away: then the clock has been put back."""
    furthest = now + rate.limit * rate.interval
    return tat if tat <= furthest + SKEW else furthest


def in_time(rate: Rate, slot: Instant, now: Instant) -> bool:
    """Whether a slot may be spent now."""
    return slot - rate.tolerance <= now <= slot


def refund(rate: Rate, slot: Instant, now: Instant) -> int:
    """By how much `tat` goes back when a slot that was taken alone is given back unused.

    What has drained away since is not given back, and in doubt counts as drained: never more than the slot was worth.
    """
    return max(0, min(rate.interval, slot + rate.interval - now))


class Permit(NamedTuple):
    """What came of asking for one use at `now`, and what is left. `held`: slots in hand beyond `tat`'s account."""

    allowed: bool
    rate: Rate
    now: Instant
    tat: Instant
    held: int = 0

    @property
    def limit(self) -> int:
        """Uses a minute."""
        return self.rate.limit

    @property
    def remaining(self) -> int:
        """How many more could be had at once. Beside other processes, as of the last look at what they took."""
        free = self.rate.limit - -(-(self.tat - self.now) // self.rate.interval)
        return min(self.rate.limit, max(0, free) + self.held)

    @property
    def reset(self) -> int:
        """Whole seconds, rounded up, until the whole limit is there again, if nothing is used meanwhile."""
        return max(0, -(-(self.tat - self.now) // SECOND))

    @property
    def wait(self) -> int:
        """Whole seconds, rounded up and at least 1, until there is one more than now."""
        ahead = self.tat - self.now
        if not self.allowed:
            return max(1, -(-(ahead - self.rate.tolerance) // SECOND))
        return -(-((ahead - 1) % self.rate.interval + 1) // SECOND)


class Lease(NamedTuple):
    """Slots that were taken together, to be spent one by one by whoever holds them, in one process."""

    rate: Rate
    tat: Instant
    slots: Iterator[Instant]
    """Those that are left. An iterator's next value is one thread's only."""

    def spend(self, limit: int, now: Instant) -> Permit | None:
        """A use of the limit (so many a minute) by one of these slots; None if the table has to be asked."""
        rate, tat, slots = self
        if rate.limit != limit:
            return None
        for slot in slots:
            if in_time(rate, slot, now):
                return Permit(True, rate, now, tat, length_hint(slots))
        if now < tat - rate.tolerance and tat == within_reach(rate, tat, now):
            return Permit(False, rate, now, tat)
        return None
