"""A small file that all processes of a node map into memory."""

import mmap
import os
from pathlib import Path


def map_file(path: Path, size: int) -> tuple[int, mmap.mmap]:
    """Return a descriptor of the file and a map of its first `size` bytes. A new file is filled with zeros.

    Raises OSError if the disk has no room for it, or if the path is a link or not a file. A longer file is not
    shortened: other processes may have mapped all of it, and would be killed.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # Reserve the space first: writing to a mapped page without disk space kills the process.
        os.posix_fallocate(fd, 0, size)
        return fd, mmap.mmap(fd, size)
    except OSError as error:
        os.close(fd)
        error.filename = str(path)
        raise


def map_memory(directory: Path | None, size: int) -> tuple[int, mmap.mmap]:
    """Return the same with zeros that no other process sees. The descriptor is of the directory, for locks; -1 without
    one.

    For a disk that has no room for the file. Raises OSError.
    """
    fd = -1 if directory is None else os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    return fd, mmap.mmap(-1, size)
