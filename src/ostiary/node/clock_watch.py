"""Decides whether the clock can be trusted for deleting old rows and dating signing keys, which cannot be undone.

Requests use the node's clock in any case. The two tasks use the database's clock if it has one, and run only on a node
that agrees with it and whose clock has not just jumped. A jump is measured against a monotonic clock, and across a
restart against the time that the database remembers (`storage.retention`).
"""

import time
from collections.abc import Callable
from typing import Final

import structlog

from ostiary.core.instant import DAY, HOUR, MINUTE, Instant, duration_to_text
from ostiary.storage import engines, retention
from ostiary.storage.store import Store

MAX_DIFFERENCE: Final = 1.0
"""Seconds by which the node's clock may differ from the database's."""
TOLERANCE: Final = MINUTE
"""How far a clock may be set without being noticed: much less than the margins of `storage.retention`."""
LONGEST_STOP: Final = retention.MARGIN
"""After a longer stop a start counts as a jump. Rows are kept for at least this long after they ended."""
STEADY: Final = 12 * HOUR
"""How long a clock that jumped must run steadily before it is believed: a night, for a person to notice."""


def disagreement(store: Store) -> str | None:
    """Return the sentence that this node's clock differs too much from the database's; None if it does not."""
    ahead = engines.clock_difference(store.engines, store.clock())
    return f"the clock is {ahead:+.1f} s from the database's" if abs(ahead) > MAX_DIFFERENCE else None


def uptime() -> Instant:
    """Return microseconds on a monotonic clock, which runs while the machine sleeps if the system has such a clock."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000


class ClockWatch:
    """Watches the clock for one process. Each check compares it with the last time that was trusted."""

    def __init__(self, store: Store, uptime: Callable[[], Instant] = uptime) -> None:
        self._store = store
        self._uptime = uptime
        self._known: tuple[Instant, Instant] | None = None
        """The last trusted time, and the uptime at that moment."""
        self._jump: tuple[int, Instant] | None = None
        """The difference from the expected time, and the uptime when the jump was noticed."""
        self._logged_at: Instant | None = None

    def believed(self) -> Instant | None:
        """Return the database's time, or None if the clock is not trusted. That is logged at once and then each hour."""
        why = disagreement(self._store)
        now = self._store.read(retention.database_time)
        if why is None:
            why = self._jumped(now)
        self._log(why)
        return now if why is None else None

    def note(self) -> None:
        """Store the time in the database, if it is trusted."""
        now = self.believed()
        if now is not None:
            self._store.write_on((), retention.note_time, now)

    def _jumped(self, now: Instant) -> str | None:
        uptime = self._uptime()
        if self._known is None:
            seen_at = self._store.read(retention.seen_at)
            if seen_at is None or -TOLERANCE <= now - seen_at <= LONGEST_STOP:
                seen_at = now
            self._known = (seen_at, uptime)
        known, then = self._known
        ahead = now - known - (uptime - then)
        if abs(ahead) > TOLERANCE:
            if self._jump is None or abs(ahead - self._jump[0]) > TOLERANCE:
                self._jump = (ahead, uptime)
            if uptime - self._jump[1] < STEADY:
                direction = "ahead of" if ahead > 0 else "behind"
                return f"the clock is {_rounded(abs(ahead))} {direction} what was expected"
        self._known, self._jump = (now, uptime), None
        return None

    def _log(self, why: str | None) -> None:
        uptime = self._uptime()
        if why is None:
            if self._logged_at is not None:
                structlog.get_logger().info("clock believed again")
            self._logged_at = None
        elif self._logged_at is None or uptime - self._logged_at >= HOUR:
            self._logged_at = uptime
            structlog.get_logger().warning(
                "clock not believed",
                reason=why,
                detail=f"Nothing is deleted and no signing key is made until it is right, or has run steadily for "
                f"{duration_to_text(STEADY)}. If it is wrong, set it; use NTP.",
            )


def _rounded(length: int) -> str:
    """The length in days, hours or minutes, rounded down: `400d`."""
    unit = next((unit for unit in (DAY, HOUR) if length >= unit), MINUTE)
    return duration_to_text(length // unit * unit)
