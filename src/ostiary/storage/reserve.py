"""The disk: how much room is free, and the room that is kept in reserve for ending access.

The reserve is a file with real blocks. Where a write that ends access fails for want of room, the file is shortened
by a step, and the write is tried again with the room that this made. While the file is shorter than it should be, all
other writes are refused: they would use up what is left.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STEP: Final = 128 * 1024
"""Bytes that are given up at once, some changes' worth: a program that goes on to fill the disk gets no more of it."""
HEAD: Final = 4096
"""Bytes of the file that are never given up."""
OUT_OF_ROOM: Final = 256 * 1024
"""Bytes: with less than this free, an error of a file is taken for want of room."""
LOW: Final = 256 * 1024 * 1024
"""Bytes: with less than this free, the operator is warned."""


def free_bytes(directory: Path) -> int:
    """The bytes that this process may still use on the disk of a directory; OSError where there is no directory."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def is_out_of_room(directory: Path) -> bool:
    """Whether the disk of a directory has so little room that opening or growing a file may fail."""
    try:
        return free_bytes(directory) < OUT_OF_ROOM
    except OSError as error:
        return error.errno == errno.ENOSPC


@dataclass(frozen=True, slots=True)
class Reserve:
    """The reserve of a data directory, as all processes of the node see it.

    The file begins with the length that it should have, so that no process needs to know the setting of another.
    """

    path: Path | None = None
    """None where the database is on another machine."""
    size: int = 0
    """The bytes that `restore` makes; 0 where the operator wants no reserve."""

    def free(self) -> int | None:
        """The bytes that are free beside it; None where the database is on another machine. OSError."""
        return None if self.path is None else free_bytes(self.path.parent)

    def left(self) -> int:
        """The bytes that can still be given up."""
        try:
            return max(0, self.path.stat().st_size - HEAD) if self.path else 0
        except OSError:
            return 0

    def missing(self) -> int:
        """The bytes that are given up. 0 where no file was made yet: there is nothing to protect."""
        if self.path is None:
            return 0
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                length, wanted = os.fstat(fd).st_size, int.from_bytes(os.pread(fd, 8, 0))
            finally:
                os.close(fd)
        except OSError:
            return 0
        return max(0, wanted - length) if length else max(1, self.size)

    def has_room(self) -> bool:
        """Whether any write is allowed, and not only what ends access."""
        return not self.missing() and not self.is_out_of_room()

    def is_out_of_room(self) -> bool:
        """Whether the disk is full; False where the database is on another machine."""
        return self.path is not None and is_out_of_room(self.path.parent)

    def give_up(self, attempt: int = 0) -> bool:
        """Give up one step, twice as much with each attempt at the same write; False where nothing is left."""
        left = self.left()
        if self.path is None or left == 0:
            return False
        try:
            os.truncate(self.path, HEAD + max(0, left - (STEP << attempt)))
        except OSError:
            return False
        return True

    def restore(self) -> None:
        """Make the reserve, or make it whole again, if as much room is left beside it. OSError.

        A file that was copied without its blocks gets them. Where no reserve is wanted, the file is removed.
        """
        if self.path is None:
            return
        if self.size == 0:
            self.path.unlink(missing_ok=True)
            return
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            found = os.fstat(fd)
            if found.st_size > self.size:
                os.ftruncate(fd, self.size)
            missing = self.size - min(found.st_size, found.st_blocks * 512)
            if missing > 0:
                if free_bytes(self.path.parent) < missing + self.size:
                    return
                os.posix_fallocate(fd, 0, self.size)
            if int.from_bytes(os.pread(fd, 8, 0)) != self.size:
                os.pwrite(fd, self.size.to_bytes(8), 0)
        finally:
            os.close(fd)
