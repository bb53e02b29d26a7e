"""Standard output and standard error of the command: a stream that cannot be written raises an error of its own."""

import contextlib
import io
import os
import stat
import sys
from typing import Any


class OutputError(OSError):
    """Standard output or standard error cannot be written: the disk is full, nobody reads, it is closed."""


class _Stream(io.FileIO):
    """A descriptor whose errors can be told from those of any other file."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def prepare() -> None:
    """Let errors of both streams be OutputErrors. A stream that was closed at the start stays one that fails."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        was = getattr(sys, name)
        if was is None:
            # Else the next file or connection would get this number, and what is printed would go there.
            unwritable = os.open(os.devnull, os.O_RDONLY)
            os.dup2(unwritable, number)
            if unwritable != number:
                os.close(unwritable)
        elif not (isinstance(was, io.TextIOWrapper) and _descriptor(was) == number):
            continue  # a caller in this process reads what is printed
        setattr(
            sys,
            name,
            io.TextIOWrapper(
                io.BufferedWriter(_Stream(number, "wb", closefd=False)),
                encoding="utf-8" if was is None else was.encoding,
                errors="replace",  # a terminal that knows no "…" still gets the rest
                line_buffering=was is None or was.line_buffering,
            ),
        )


def settle() -> None:
    """Return once standard output has taken all that was printed. Raises OSError.

    A file is also brought to its disk, which may find only then that it is full.
    """
    sys.stdout.flush()
    with contextlib.suppress(io.UnsupportedOperation):
        number = sys.stdout.fileno()
        if stat.S_ISREG(os.fstat(number).st_mode):
            os.fsync(number)


def give_up() -> None:
    """Print nothing more where it fails: the interpreter would try again at its end, and complain."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(nothing, number)
    os.close(nothing)


def _descriptor(stream: io.TextIOWrapper) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
