"""A wall clock that a test moves, for a real service: a library that is preloaded into it (`clock_shim.c`)."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers import UnavailableError

SOURCE = Path(__file__).with_name("clock_shim.c")


@dataclass(frozen=True, slots=True)
class MovedClock:
    """What the services that were started with `environment` take for the time, off from the machine's."""

    library: Path
    file: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "MOVED_CLOCK_FILE": str(self.file)}

    def move(self, seconds: int) -> None:
        """Let the clock be off by so much from now on, in services that run already, too."""
        with self.file.open("r+b", buffering=0) as file:
            file.write(seconds.to_bytes(8, "little", signed=True))


def moved_clock(directory: Path) -> MovedClock:
    """A clock that is right until it is moved. Raises UnavailableError without a C compiler."""
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
