"""A small file that all processes of a node map into memory."""

import mmap
import os
from pathlib import Path


def map_file(path: Path, size: int) -> tuple[int, mmap.mmap]:
    """The descriptor and the map of the first `size` bytes of a file, which is made, of zeros, where there is none.

    OSError where the disk has no room for it, where a link lies there, or whatever else is no file. A file that is
    longer stays so: others may have mapped all of it, and to cut it would kill them.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # A page that is mapped and has no room on the disk kills whoever writes to it.
        os.posix_fallocate(fd, 0, size)
        return fd, mmap.mmap(fd, size)
    except OSError as error:
        os.close(fd)
        error.filename = str(path)
        raise


def map_memory(directory: Path | None, size: int) -> tuple[int, mmap.mmap]:
    """The same of zeros that no other process sees, with a descriptor of the directory for locks; -1 without one.

    For a disk that has no room for the file. OSError.
    """
    fd = -1 if directory is None else os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    return fd, mmap.mmap(-1, size)
