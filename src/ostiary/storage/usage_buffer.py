"""Uses and refusals that wait to be written. They may be lost, but must not grow without bound.

A caller can choose the IP address that its requests are counted with. So the number of addresses is limited first:
beyond that limit an occasion loses its address, but never its credential or organization. No flood can displace the
numbers of others: accepted uses and refusals have separate limits, and one organization gets at most half of either.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from ostiary.core.address import failure_group, parse_address
from ostiary.core.event import OriginKind
from ostiary.core.instant import Instant

ADDRESSES_OF_REFUSALS: Final = 300
"""How many refused occasions of one organization keep their address between two writes."""
ADDRESSES_OF_CREDENTIAL: Final = 100
"""How many accepted occasions of one credential keep their address."""
MORE_ADDRESSES: Final = 1000
"""How many accepted occasions of one organization keep their address, besides the first of each credential."""
MAX_MARKS: Final = 30_000

_Key = TypeVar("_Key")


@dataclass(slots=True)
class Count:
    """How often something happened since the last write, and when."""

    number: int = 0
    first: Instant = 0
    last: Instant = 0


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """A use or refusal of a presented credential, with everything that the audit log distinguishes.

    Without an `access_id`, the presented credential is unknown.
    """

    accepted: bool
    reason: str
    address: str | None
    via: str
    organization_id: str | None = None
    credential_id: str | None = None
    access_id: str | None = None
    rotated: bool = False
    """Whether a rotation has replaced the presented secret."""
    credential: str = ""
    """The credential for display: name and last six characters."""
    credential_kind: OriginKind | None = None
    display: str = "unknown"
    """The owner's display name."""
    actor_type: str = "unknown"
    actor_id: str | None = None
    resource: str = ""
    """The refused resource, if the resource is the reason."""


Mark = tuple[str | int | None, ...]
"""A cheap key for an occasion, made for every request. The occasion itself is built once."""


class _Waiting:
    """The different occasions, and how many places each credential and organization uses."""

    def __init__(self) -> None:
        self.counts: dict[UsageEvent, Count] = {}
        self.totals_by_outcome = {False: 0, True: 0}
        """The number of refused (False) and accepted (True) occasions."""
        self.by_organization: dict[tuple[bool, str | None], int] = {}
        """The same for each organization."""
        self.refused_with_address: dict[str | None, int] = {}
        """Refused occasions with an address, for each organization."""
        self.accepted_with_address: dict[str | None, int] = {}
        """Accepted occasions with an address, for each credential."""
        self.more_accepted_with_address: dict[str | None, int] = {}
        """Accepted occasions with an address for each organization, besides the first of each credential."""


@dataclass(slots=True)
class UsageBuffer:
    """Uses and refusals in memory. They are written every few seconds; a crash loses those since the last write.

    `uses` and `refusals` limit the number of different accepted and refused occasions. Occasions beyond that are
    merged by organization, reason and `via`, and are displayed as `many`.
    """

    uses: int = 20_000
    refusals: int = 5_000
    _waiting: _Waiting = field(default_factory=_Waiting)
    _marked: dict[Mark, Count] = field(default_factory=dict)
    _taken: dict[tuple[str, str], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def again(self, mark: Mark, now: Instant) -> bool:
        """Count another occasion with this mark. Return False if the mark is unknown since the last write; nothing is
        counted."""
        with self._lock:
            count = self._marked.get(mark)
            if count is None:
                return False
            count.number += 1
            if now > count.last:
                count.last = now
            return True

    def add(self, occasion: UsageEvent, now: Instant, mark: Mark | None = None) -> None:
        """Count an occasion. From now on `again` counts it by its mark, as this occasion or the wider one it was
        merged into."""
        with self._lock:
            count = self._merge(occasion, Count(1, now, now))
            if mark is not None:
                if len(self._marked) >= MAX_MARKS:
                    self._marked.clear()  # marks in use come back soon, so a flood displaces nobody for long
                self._marked[mark] = count

    def take(self) -> dict[UsageEvent, Count]:
        """Return everything counted so far, and start over."""
        with self._lock:
            taken, self._waiting = self._waiting.counts, _Waiting()
            self._marked.clear()
        _tally(self._taken, taken.items(), 1)
        return taken

    def give_back(self, taken: dict[UsageEvent, Count]) -> None:
        """Count again what could not be written, within the same limits."""
        _tally(self._taken, taken.items(), -1)
        with self._lock:
            for occasion, count in taken.items():
                self._merge(occasion, count)

    def totals(self) -> dict[tuple[str, str], int]:
        """Return how often each (via, reason) was counted since the start, written or not.

        Computed on demand, so that counting stays cheap. Only the thread that calls `take` may call this.
        """
        totals = dict(self._taken)
        with self._lock:
            waiting = list(self._waiting.counts.items())
        _tally(totals, waiting, 1)
        return totals

    def waiting(self) -> int:
        """Return the number of different occasions that wait to be written."""
        return len(self._waiting.counts)

    # Under the lock

    def _merge(self, occasion: UsageEvent, count: Count) -> Count:
        counts = self._waiting.counts
        if not occasion.accepted:
            occasion = _by_neighbourhood(occasion)
        if occasion not in counts and not self._keeps_address(occasion):
            occasion = replace(occasion, address=None)
        if occasion not in counts and not self._has_room(occasion):
            organization = occasion.organization_id
            occasion = UsageEvent(
                occasion.accepted, occasion.reason, None, occasion.via, organization, display="many"
            )
        present = counts.get(occasion)
        if present is None:
            counts[occasion] = count
            return count
        present.number += count.number
        present.first = min(present.first, count.first)
        present.last = max(present.last, count.last)
        return present

    def _keeps_address(self, occasion: UsageEvent) -> bool:
        """Return whether one more occasion may keep its address. If so, it is counted as one of them."""
        if occasion.address is None:
            return True
        waiting, organization = self._waiting, occasion.organization_id
        if not occasion.accepted:
            return _increment_below(waiting.refused_with_address, organization, ADDRESSES_OF_REFUSALS)
        if waiting.accepted_with_address.get(occasion.credential_id) and not _increment_below(
            waiting.more_accepted_with_address, organization, MORE_ADDRESSES
        ):
            return False
        return _increment_below(
            waiting.accepted_with_address, occasion.credential_id, ADDRESSES_OF_CREDENTIAL
        )

    def _has_room(self, occasion: UsageEvent) -> bool:
        """Return whether one more occasion fits. No organization may have more places than are left for all others."""
        waiting, accepted = self._waiting, occasion.accepted
        left = (self.uses if accepted else self.refusals) - waiting.totals_by_outcome[accepted]
        if not _increment_below(waiting.by_organization, (accepted, occasion.organization_id), left):
            return False
        waiting.totals_by_outcome[accepted] += 1
        return True


def _increment_below(numbers: dict[_Key, int], key: _Key, limit: int) -> bool:
    number = numbers.get(key, 0)
    if number >= limit:
        return False
    numbers[key] = number + 1
    return True


def _by_neighbourhood(occasion: UsageEvent) -> UsageEvent:
    """Replace the IPv6 address of a refusal by its /64, because a host usually controls all addresses in it."""
    address = occasion.address
    if address is None or ":" not in address or "/" in address:
        return occasion
    return replace(occasion, address=failure_group(parse_address(address)))


def _tally(
    totals: dict[tuple[str, str], int], counted: Iterable[tuple[UsageEvent, Count]], sign: int
) -> None:
    for occasion, count in counted:
        key = occasion.via, occasion.reason
        totals[key] = totals.get(key, 0) + sign * count.number
