"""Uses and refusals that wait to be written. They may be lost; they may not grow without bound.

Whoever sends a request may choose the address that it is counted with, so what is told of addresses is bounded first:
past that bound an occasion loses its address, and never its credential or organization. What nobody's flood can take
from another: the room of accepted uses is not the room of refusals, and one organization has at most half of either.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from ostiary.core.address import neighbourhood, parse_address
from ostiary.core.instant import Instant
from ostiary.core.model import OriginKind

ADDRESSES_OF_REFUSALS: Final = 300
"""How many refused occasions of one organization are told with an address, between two writings."""
ADDRESSES_OF_CREDENTIAL: Final = 100
"""How many accepted occasions of one credential are."""
MORE_ADDRESSES: Final = 1000
"""How many accepted occasions of one organization are, besides the first of each credential."""
MAX_MARKS: Final = 30_000

_Key = TypeVar("_Key")


@dataclass(slots=True)
class Count:
    """How often something happened since it was last written, and when."""

    number: int = 0
    first: Instant = 0
    last: Instant = 0


@dataclass(frozen=True, slots=True)
class Occasion:
    """A use or refusal of a presented credential, as the audit log tells them apart.

    Without an `access_id` nothing that was presented is known.
    """

    accepted: bool
    reason: str
    address: str | None
    via: str
    organization_id: str | None = None
    credential_id: str | None = None
    access_id: str | None = None
    rotated: bool = False
    """Whether another secret has taken the place of the one that was presented."""
    credential: str = ""
    """How the credential reads: name and last six characters."""
    credential_kind: OriginKind | None = None
    display: str = "unknown"
    """How its owner reads."""
    actor_type: str = "unknown"
    actor_id: str | None = None
    resource: str = ""
    """The resource that was refused, if that is the reason."""


Mark = tuple[str | int | None, ...]
"""A short name of an occasion, made for every request; the occasion itself is told once."""


class _Waiting:
    """Different occasions, and how much of the room for them is taken by whom."""

    def __init__(self) -> None:
        self.counts: dict[Occasion, Count] = {}
        self.kinds = {False: 0, True: 0}
        """How many refused ones there are, and how many accepted ones."""
        self.shares: dict[tuple[bool, str | None], int] = {}
        """The same of each organization."""
        self.refused_from: dict[str | None, int] = {}
        """How many refused ones of each organization have an address."""
        self.used_from: dict[str | None, int] = {}
        """How many accepted ones of each credential have one."""
        self.used_from_more: dict[str | None, int] = {}
        """How many accepted ones of each organization have one, besides the first of each credential."""


@dataclass(slots=True)
class Counts:
    """Uses and refusals in memory until they are written, every some seconds; a crash loses at most those.

    `uses` and `refusals`: how many different accepted and refused occasions are kept. What has no room there is
    counted by organization, reason and the address of ours that it was presented at: `many`.
    """

    uses: int = 20_000
    refusals: int = 5_000
    _waiting: _Waiting = field(default_factory=_Waiting)
    _marked: dict[Mark, Count] = field(default_factory=dict)
    _taken: dict[tuple[str, str], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def again(self, mark: Mark, now: Instant) -> bool:
        """Count once more what was counted under this mark since the last writing; False: not counted."""
        with self._lock:
            count = self._marked.get(mark)
            if count is None:
                return False
            count.number += 1
            if now > count.last:
                count.last = now
            return True

    def add(self, occasion: Occasion, now: Instant, mark: Mark | None = None) -> None:
        """Count an occasion, and know it, or the wider one that it was counted as, by its mark from now on."""
        with self._lock:
            count = self._merge(occasion, Count(1, now, now))
            if mark is not None:
                if len(self._marked) >= MAX_MARKS:
                    self._marked.clear()  # what is asked again is marked again; a flood keeps nobody out
                self._marked[mark] = count

    def take(self) -> dict[Occasion, Count]:
        """Everything counted so far; counting begins anew."""
        with self._lock:
            taken, self._waiting = self._waiting.counts, _Waiting()
            self._marked.clear()
        _tally(self._taken, taken.items(), 1)
        return taken

    def give_back(self, taken: dict[Occasion, Count]) -> None:
        """What could not be written is counted again, within the same bounds."""
        _tally(self._taken, taken.items(), -1)
        with self._lock:
            for occasion, count in taken.items():
                self._merge(occasion, count)

    def totals(self) -> dict[tuple[str, str], int]:
        """How often each (via, reason) was counted since the start, written or not.

        Worked out when it is asked for, so that counting pays nothing for it. To be asked by the thread that takes.
        """
        totals = dict(self._taken)
        with self._lock:
            waiting = list(self._waiting.counts.items())
        _tally(totals, waiting, 1)
        return totals

    def waiting(self) -> int:
        """Different occasions that wait to be written."""
        return len(self._waiting.counts)

    # Under the lock

    def _merge(self, occasion: Occasion, count: Count) -> Count:
        counts = self._waiting.counts
        if not occasion.accepted:
            occasion = _by_neighbourhood(occasion)
        if occasion not in counts and not self._tells_address(occasion):
            occasion = replace(occasion, address=None)
        if occasion not in counts and not self._has_room(occasion):
            organization = occasion.organization_id
            occasion = Occasion(
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

    def _tells_address(self, occasion: Occasion) -> bool:
        """Whether one more may be told with its address; if so, it is one of them from now on."""
        if occasion.address is None:
            return True
        waiting, organization = self._waiting, occasion.organization_id
        if not occasion.accepted:
            return _one_more(waiting.refused_from, organization, ADDRESSES_OF_REFUSALS)
        if waiting.used_from.get(occasion.credential_id) and not _one_more(
            waiting.used_from_more, organization, MORE_ADDRESSES
        ):
            return False
        return _one_more(waiting.used_from, occasion.credential_id, ADDRESSES_OF_CREDENTIAL)

    def _has_room(self, occasion: Occasion) -> bool:
        """Whether one more may be kept: nobody may have more than is left for all others."""
        waiting, accepted = self._waiting, occasion.accepted
        left = (self.uses if accepted else self.refusals) - waiting.kinds[accepted]
        if not _one_more(waiting.shares, (accepted, occasion.organization_id), left):
            return False
        waiting.kinds[accepted] += 1
        return True


def _one_more(numbers: dict[_Key, int], key: _Key, most: int) -> bool:
    number = numbers.get(key, 0)
    if number >= most:
        return False
    numbers[key] = number + 1
    return True


def _by_neighbourhood(occasion: Occasion) -> Occasion:
    """An IPv6 address of a refusal is its /64: whoever has one address there has them all."""
    address = occasion.address
    if address is None or ":" not in address or "/" in address:
        return occasion
    return replace(occasion, address=neighbourhood(parse_address(address)))


def _tally(totals: dict[tuple[str, str], int], counted: Iterable[tuple[Occasion, Count]], sign: int) -> None:
    for occasion, count in counted:
        key = occasion.via, occasion.reason
        totals[key] = totals.get(key, 0) + sign * count.number
