"""Rate limit state in one file that all processes of a node map: how much of each limit is used up.

The file is a fixed hash table with open addressing. An entry has 16 bytes: the fingerprint of a key, and the
time of its next slot (`core.rate`). An entry whose slot has passed is free. Slots are taken under a lock. A
process takes several at once (a lease) and spends those without the lock.

A limit is never exceeded. If the table is full, keys share an entry. If the lock is unavailable, nothing is
permitted.
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
"""The fingerprint of an entry that several keys share because no other was free."""
PAUSES: Final = (0.0, *(0.000_02 * 2**n for n in range(11)))
"""Seconds before each attempt to take the lock, 41 ms in total.

The limit is a number of attempts, not a time: if all processes are throttled together, no attempt is used up.
A process holds the lock for a few microseconds, so one that holds it through all attempts was stopped.
"""
FURTHEST: Final = MINUTE + SECOND
"""The furthest that a slot can be in the future: one minute, plus the error from rounding intervals up."""


class MappedRateLimitStore:
    """The table in one file. Each process, forks included, must open it itself, because a lock belongs to the open
    file."""

    def __init__(self, path: Path, key: bytes, entries: int = ENTRIES, private: bool = False) -> None:
        """Open or create the table. Raises OSError.

        `key` has up to 64 secret bytes, so that nobody can choose a name that collides with another's entry.
        The file's contents need no check: an entry in a wrong position belongs to no key, and becomes free
        within a minute. `private`: the table is not shared, for a service with one process on a disk without
        space for the file.
        """
        size = entries * 16
        self._fd, self._map = map_memory(path.parent, size) if private else map_file(path, size)
        self._view = memoryview(self._map).cast("q")
        self._entries = entries
        self._hash = blake2b(key=key, digest_size=8)
        self._lock = threading.Lock()
        self._lock_unavailable = False
        # The result of the last access to the table, with the slots still leased.
        self._leases: dict[str, Lease] = {}
        self.lease = self._leases.get
        """Return the lease of a name, or None. It runs on every request, so it is the dict's own method."""

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self._fd)

    def take(self, name: str, limit: int, now: Instant) -> Permit:
        """Take one use of a limit (uses per minute) at `now`. The permit says whether it was allowed."""
        lease = self._leases.get(name)
        permit = None if lease is None else lease.spend(limit, now)
        return self._take(name, rate_of(limit), now) if permit is None else permit

    def _take(self, name: str, rate: Rate, now: Instant) -> Permit:
        fingerprint = self._fingerprint(name)
        # A flock belongs to the open file, so it does not exclude threads of one process. This lock does. The
        # kernel releases the flock of a process that ends.
        with self._lock:
            if not self._acquire():
                # Refused for a second; nothing is stored. Waiting longer would need a third kind of result, for a lock
                # that is free at once unless another process was stopped just then.
                return Permit(False, rate, now, now + rate.tolerance + 1)
            try:
                at = self._find_entry(fingerprint, now) + 1
                first, count = take(rate, self._view[at], now)
                tat = self._view[at] = first + count * rate.interval
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        if len(self._leases) >= MAX_LEASES:
            self._leases.clear()
        self._leases[name] = Lease(rate, tat, iter(range(first + rate.interval, tat, rate.interval)))
        return Permit(count > 0, rate, now, tat, max(0, count - 1))

    def give_back(self, name: str, permit: Permit, now: Instant) -> None:
        """Return a permit that was not used. Only for limits without leases.

        If the lock is unavailable, the use remains counted.
        """
        fingerprint = self._fingerprint(name)
        slot = permit.tat - permit.rate.interval
        with self._lock:
            if not self._acquire():
                return
            try:
                self._view[self._find_entry(fingerprint, now) + 1] -= refund(permit.rate, slot, now)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _acquire(self) -> bool:
        """Take the lock and return whether that succeeded. If it did, the caller must release it. This blocks
        the event loop, so it waits only briefly.

        After a failure, later calls do not wait until one call has taken the lock again. Otherwise every
        request would wait.
        """
        for pause in PAUSES[:1] if self._lock_unavailable else PAUSES:
            if pause:
                time.sleep(pause)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            self._lock_unavailable = False
            return True
        self._lock_unavailable = True
        return False

    def _fingerprint(self, name: str) -> int:
        hashed = self._hash.copy()
        hashed.update(name.encode())
        return int.from_bytes(hashed.digest(), "little", signed=True) or 1

    def _find_entry(self, fingerprint: int, now: Instant) -> int:
        """Return the position of a key's entry in `_view`. A free entry becomes the key's own.

        If a key has no entry and all its possible ones are taken, it shares the one that is free soonest, with its
        owner and with later keys: those have no entry of their own and find the shared one. A shared entry never shows
        less than each of its keys has used, and a key stays with it until it is free.
        """
        view = self._view
        expired_before = now - SKEW
        free = shared = soonest = -1
        for probe in range(fingerprint, fingerprint + PROBES):
            at = probe % self._entries * 2
            tat = view[at + 1]
            if tat <= expired_before:
                if free < 0:
                    free = at
                continue
            if tat > now + FURTHEST + SKEW:
                # The clock was set back. Every limit recovers within a minute, so cap the value.
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
