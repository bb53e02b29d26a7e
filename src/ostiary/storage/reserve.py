"""Free disk space, and the space that is reserved for writes that end access.

The reserve is a file with real blocks. If a write that ends access fails because the disk is full, the file is
shortened by a step and the write is tried again. While the file is shorter than it should be, all other writes are
refused, because they would use up the rest.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STEP: Final = 128 * 1024
"""Bytes that are given up at once, enough for a few changes. Another program that fills the disk gets no more."""
HEAD: Final = 4096
"""Bytes of the file that are never given up."""
OUT_OF_ROOM: Final = 256 * 1024
"""With fewer free bytes, a file error counts as a full disk."""
LOW: Final = 256 * 1024 * 1024
"""With fewer free bytes, the operator is warned."""


def free_bytes(directory: Path) -> int:
    """Return the free bytes on the disk of a directory. Raises OSError if there is no directory."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def is_out_of_room(directory: Path) -> bool:
    """Return whether the disk of a directory is so full that opening or growing a file may fail."""
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
    """None if the database is on another machine."""
    size: int = 0
    """The full size in bytes; 0: no reserve."""

    def free(self) -> int | None:
        """Return the free bytes of the disk; None if the database is on another machine. Raises OSError."""
        return None if self.path is None else free_bytes(self.path.parent)

    def left(self) -> int:
        """Return the bytes that can still be given up."""
        try:
            return max(0, self.path.stat().st_size - HEAD) if self.path else 0
        except OSError:
            return 0

    def missing(self) -> int:
        """Return the bytes that were given up; 0 if no file was made yet."""
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
        """Return whether all writes are allowed, not only those that end access."""
        return not self.missing() and not self.is_out_of_room()

    def allows(self, share: float) -> bool:
        """Return whether a write may use the reserve that is entitled to this part of it, from 0 to 1."""
        if share <= 0:
            return False
        missing = self.missing()
        return missing <= share * (missing + self.left())

    def is_out_of_room(self) -> bool:
        """Return whether the disk is full; False if the database is on another machine."""
        return self.path is not None and is_out_of_room(self.path.parent)

    def give_up(self, attempt: int = 0) -> bool:
        """Give up one step, doubled with each attempt at the same write. Return False if nothing is left."""
        left = self.left()
        if self.path is None or left == 0:
            return False
        try:
            os.truncate(self.path, HEAD + max(0, left - (STEP << attempt)))
        except OSError:
            return False
        return True

    def restore(self) -> None:
        """Make the reserve or fill it up, if the disk then still has `size` bytes free. Raises OSError.

        A sparse copy of the file gets its blocks. If `size` is 0, the file is removed.
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
