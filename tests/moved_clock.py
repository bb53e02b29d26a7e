"""A wall clock that a test moves, for a real service: a preloaded library (`clock_shim.c`) shifts its time."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers import UnavailableError

SOURCE = Path(__file__).with_name("clock_shim.c")


@dataclass(frozen=True, slots=True)
class MovedClock:
    """The offset of the clock of all services that were started with `environment`."""

    library: Path
    file: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "MOVED_CLOCK_FILE": str(self.file)}

    def move(self, seconds: int) -> None:
        """Set the offset from now on. It also applies to running services."""
        with self.file.open("r+b", buffering=0) as file:
            file.write(seconds.to_bytes(8, "little", signed=True))


def moved_clock(directory: Path) -> MovedClock:
    """Return a clock with offset zero. Raises UnavailableError if there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise UnavailableError("cc is not installed")
    library, file = directory / "clock_shim.so", directory / "clock"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", str(SOURCE), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UnavailableError(f"cc cannot compile: {done.stderr.strip()[:200]}")
    file.write_bytes(bytes(8))
    return MovedClock(library, file)
