"""Database troubles that the operator must fix, with the time at which each last occurred.

All processes of a node share them in one mapped file, so that every process reports the same in `/readyz`, and one
process writes the log.
"""

import os
from pathlib import Path
from typing import Final, Literal

from ostiary.core.instant import MINUTE, Instant
from ostiary.storage.mapped import map_file, map_memory

Trouble = Literal["full", "damaged", "failing"]

KINDS: Final[tuple[Trouble, ...]] = ("full", "damaged", "failing")
LASTS: Final = MINUTE
"""How long a trouble is reported after it last occurred. Damage is reported until the service restarts."""


class Troubles:
    """The time at which each trouble last occurred. Each process opens the file itself. Without a path nothing is
    shared."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises OSError if the file cannot be created or opened."""
        self._fd, self._map = (
            map_memory(None, 8 * len(KINDS)) if path is None else map_file(path, 8 * len(KINDS))
        )
        self._view = memoryview(self._map).cast("q")

    def note(self, trouble: Trouble, now: Instant) -> None:
        self._view[KINDS.index(trouble)] = now

    def last(self, trouble: Trouble) -> Instant:
        """Return when it last occurred; 0 if never."""
        return self._view[KINDS.index(trouble)]

    def current(self, now: Instant) -> tuple[Trouble, ...]:
        """Return the current troubles."""
        found = ((each, self.last(each)) for each in KINDS)
        return tuple(each for each, last in found if last and (each == "damaged" or now - last < LASTS))

    def forget(self) -> None:
        """Clear all troubles, when the service starts."""
        for number in range(len(KINDS)):
            self._view[number] = 0

    def close(self) -> None:
        self._view.release()
        self._map.close()
        if self._fd >= 0:
            os.close(self._fd)
