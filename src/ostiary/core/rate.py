"""Rate limits in uses per minute. The bound below holds for every window of time, not only for whole minutes.

The algorithm is GCRA, in whole microseconds. A limit of N per minute has slots at an interval T = 60 s / N (rounded
up). A use takes the next slot. It must happen before the slot, and at most the tolerance τ = (N − 1) T before it. So
an idle limit allows N uses at once, then one per T, and in t seconds never more than N + N t / 60. The only state is
the time of the next slot (`tat`, the theoretical arrival time). A time in the past is the same as none.

A process may take several slots at once (a lease) and spend them later one by one within the same bounds. Each slot is
used once, so any number of processes together keep the limit. Slots that are not spent in time are lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import length_hint
from typing import Final, NamedTuple

from ostiary.core.instant import MINUTE, SECOND, Instant

MAX_RATE: Final = 1_000_000
"""The highest limit, in uses per minute. Above it the interval would be too coarse in whole microseconds."""

SKEW: Final = SECOND
"""By how much another process's clock reading may be later than this one's."""

LEASED_FROM: Final = 128
LONGEST_LEASE: Final = 16


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit in uses per minute, and the values derived from it, in microseconds."""

    limit: int
    interval: int
    tolerance: int
    lease: int
    """How many slots may be taken at once. Small limits are not leased: slots that one process holds, no other can
    use."""


@lru_cache(maxsize=1024)
def rate_of(limit: int) -> Rate:
    """Return the rate of a limit of 1 to MAX_RATE uses per minute. Raises ValueError for any other limit."""
    if not 1 <= limit <= MAX_RATE:
        raise ValueError(f"must be a whole number from 1 to {MAX_RATE}")
    interval = -(-MINUTE // limit)
    lease = min(limit // 64, LONGEST_LEASE) if limit >= LEASED_FROM else 1
    return Rate(limit, interval, (limit - 1) * interval, lease)


def take(rate: Rate, tat: Instant, now: Instant) -> tuple[Instant, int]:
    """Return the first free slot, and how many slots from there may be taken now. 0: the limit is reached.

    A caller that takes n slots sets `tat` to the first slot plus n intervals. Near the limit fewer are offered.
    """
    first = max(now, within_reach(rate, tat, now))
    room = (now + rate.tolerance - first) // rate.interval + 1
    return first, max(0, min(rate.lease, room, 1 + room // 8))


def within_reach(rate: Rate, tat: Instant, now: Instant) -> Instant:
    """Return `tat`, or the `tat` of a fully used limit if `tat` is later than that: then the clock was set back."""
    furthest = now + rate.limit * rate.interval
    return tat if tat <= furthest + SKEW else furthest


def in_time(rate: Rate, slot: Instant, now: Instant) -> bool:
    """Return whether a slot may be spent now."""
    return slot - rate.tolerance <= now <= slot


def refund(rate: Rate, slot: Instant, now: Instant) -> int:
    """Return by how much to reduce `tat` when a slot that was taken alone is returned unused.

    The part of the slot that time has freed since is not refunded, so a refund is never more than the slot was worth.
    """
    return max(0, min(rate.interval, slot + rate.interval - now))


class Permit(NamedTuple):
    """The result of asking for one use at `now`, and what is left. `held` counts leased slots that are still unspent."""

    allowed: bool
    rate: Rate
    now: Instant
    tat: Instant
    held: int = 0

    @property
    def limit(self) -> int:
        """The limit in uses per minute."""
        return self.rate.limit

    @property
    def remaining(self) -> int:
        """Return how many more uses would be allowed at once, as far as this process knows of slots that others took."""
        free = self.rate.limit - -(-(self.tat - self.now) // self.rate.interval)
        return min(self.rate.limit, max(0, free) + self.held)

    @property
    def reset(self) -> int:
        """Return the seconds until the whole limit is available again if nothing is used, rounded up."""
        return max(0, -(-(self.tat - self.now) // SECOND))

    @property
    def wait(self) -> int:
        """Return the seconds until one more use is allowed than now, rounded up, at least 1."""
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
