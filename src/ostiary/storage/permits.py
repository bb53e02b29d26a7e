"""Permits: who has used how much of a rate limit, in one file that all processes of a node map.

A fixed table of open addressing. An entry is sixteen bytes: the fingerprint of a key, and where its next slot lies
(`core.rate`). An entry whose slot has passed is free. Slots are taken under a lock; a process takes some at once
(a lease) and spends those without one. A limit is never exceeded: where the table is full, keys share an entry, and
where the lock cannot be had, nothing is permitted.
"""

import fcntl
import os
import threading
import time
from hashlib import blake2b
from pathlib import Path
from typing import Final

from ostiary.core.instant import MINUTE, SECOND, Instant
from ostiary.core.rate import SKEW, Lease, Permit, Rate, rate_of, refund, take
from ostiary.storage.mapped import map_file, map_memory

ENTRIES: Final = 65_536
PROBES: Final = 8
MAX_LEASES: Final = 20_000
SHARED: Final = 0
"""The fingerprint of an entry that several keys share because there was no other one left."""
PAUSES: Final = (0.0, *(0.000_02 * 2**n for n in range(11)))
"""Seconds before each attempt at the lock, 41 ms in all. Counted in attempts: while all processes are throttled at once
none goes by. Whoever has the lock needs it for some microseconds, so one who keeps it so long was stopped."""
FURTHEST: Final = MINUTE + SECOND
"""How far away a slot can lie at most: a minute, and what rounding intervals up adds to it."""


class Permits:
    """The table of one file. Each process opens it for itself: a lock belongs to the open file, forks included."""

    def __init__(self, path: Path, key: bytes, entries: int = ENTRIES, private: bool = False) -> None:
        """`key`, up to 64 secret bytes: without it nobody can aim a name at somebody else's entry. OSError.

        Whatever is in the file: an entry in the wrong place is nobody's, and is free within a minute. `private`: the
        table is this process's own, for a service of one process on a disk without room for the file.
        """
        size = entries * 16
        self._fd, self._map = map_memory(path.parent, size) if private else map_file(path, size)
        self._view = memoryview(self._map).cast("q")
        self._entries = entries
        self._hash = blake2b(key=key, digest_size=8)
        self._lock = threading.Lock()
        self._stuck = False
        # The last answer from the table, with the slots in hand.
        self._leases: dict[str, Lease] = {}
        self.lease = self._leases.get
        """The lease of a name, or None. Asked for every request: the dict's own method."""

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self._fd)

    def take(self, name: str, limit: int, now: Instant) -> Permit:
        """Take one use of a limit (so many a minute) at `now`, or learn that there is none left."""
        lease = self._leases.get(name)
        permit = None if lease is None else lease.spend(limit, now)
        return self._take(name, rate_of(limit), now) if permit is None else permit

    def _take(self, name: str, rate: Rate, now: Instant) -> Permit:
        fingerprint = self._fingerprint(name)
        # A flock is the open file's: threads of one process would pass each other. A process that ends lets go of it.
        with self._lock:
            if not self._attempt():
                # Refused for a second, and nothing of it is remembered. To let a thread wait for longer, who asks would
                # need a third answer, for a lock that is had at once unless another process was stopped just then.
                return Permit(False, rate, now, now + rate.tolerance + 1)
            try:
                at = self._place(fingerprint, now) + 1
                first, count = take(rate, self._view[at], now)
                tat = self._view[at] = first + count * rate.interval
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        if len(self._leases) >= MAX_LEASES:
            self._leases.clear()
        self._leases[name] = Lease(rate, tat, iter(range(first + rate.interval, tat, rate.interval)))
        return Permit(count > 0, rate, now, tat, max(0, count - 1))

    def give_back(self, name: str, permit: Permit, now: Instant) -> None:
        """Give back a permit that was not used after all. Only for limits that are not leased.

        Where the lock cannot be had, it stays used.
        """
        fingerprint = self._fingerprint(name)
        slot = permit.tat - permit.rate.interval
        with self._lock:
            if not self._attempt():
                return
            try:
                self._view[self._place(fingerprint, now) + 1] -= refund(permit.rate, slot, now)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _attempt(self) -> bool:
        """Whether the lock was had, and is to be let go of. It is the event loop that waits, so not for long.

        Who waited in vain does not wait again until the lock was had once: else each request would.
        """
        for pause in PAUSES[:1] if self._stuck else PAUSES:
            if pause:
                time.sleep(pause)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            self._stuck = False
            return True
        self._stuck = True
        return False

    def _fingerprint(self, name: str) -> int:
        hashed = self._hash.copy()
        hashed.update(name.encode())
        return int.from_bytes(hashed.digest(), "little", signed=True) or 1

    def _place(self, fingerprint: int, now: Instant) -> int:
        """Where a key's entry stands in `_view`; a free one becomes its own.

        A key that has none, while all it could have are taken, shares the one that is free soonest with its owner and
        with whoever comes after: those have no entry of their own and find the shared one. What a shared entry tells
        is never less than each of them has used, and a key stays with it until it is free.
        """
        view = self._view
        gone = now - SKEW
        free = shared = soonest = -1
        for probe in range(fingerprint, fingerprint + PROBES):
            at = probe % self._entries * 2
            tat = view[at + 1]
            if tat <= gone:
                if free < 0:
                    free = at
                continue
            if tat > now + FURTHEST + SKEW:
                # The clock has been put back: nothing is used up for longer than a minute.
                view[at + 1] = tat = now + FURTHEST
            owner = view[at]
            if owner == fingerprint:
                return at
            if owner == SHARED and (shared < 0 or tat > view[shared + 1]):
                shared = at
            if soonest < 0 or tat < view[soonest + 1]:
                soonest = at
        if shared >= 0:
            return shared
        if free >= 0:
            view[free] = fingerprint
            return free
        view[soonest] = SHARED
        return soonest
