"""Small file systems that tests can fill. Mounting them requires root."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.servers import UnavailableError

MIB = 1024 * 1024
Kind = Literal["tmpfs", "ext4"]


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system with a filler file that takes up space."""

    root: Path

    @property
    def _filler(self) -> Path:
        return self.root / "filler"

    def free(self) -> int:
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def fill(self) -> None:
        """Use up all free space, as another program would."""
        self._filler.touch(0o600)
        with self._filler.open("ab", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())

    def make_room(self) -> None:
        self._filler.unlink()


@contextlib.contextmanager
def small_disk(place: Path, size: int, kind: Kind = "tmpfs") -> Iterator[Disk]:
    """Mount a file system of the given size at `place`. Raises UnavailableError if it cannot be mounted."""
    place.mkdir(mode=0o700)
    if kind == "tmpfs":
        mounted = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(place)]
    else:
        image = place.with_suffix(".image")
        with image.open("wb") as file:
            file.truncate(size)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        mounted = ["mount", "-o", "loop", str(image), str(place)]
    _run(*mounted)
    try:
        place.chmod(0o700)
        with contextlib.suppress(OSError):
            (place / "lost+found").rmdir()
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UnavailableError(f"a small disk: {command[0]}: {error.strerror}") from None
    if done.returncode:
        raise UnavailableError(f"a small disk can be mounted by root only: {done.stderr.strip()}")
