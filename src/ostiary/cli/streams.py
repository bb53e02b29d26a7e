"""Standard output and standard error of the command line. A failed write raises OutputError."""

import contextlib
import io
import os
import stat
import sys
from typing import Any


class OutputError(OSError):
    """Standard output or standard error cannot be written: the disk is full, the pipe or the stream is closed."""


class _Stream(io.FileIO):
    """A file whose write errors can be distinguished from those of other files."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def prepare() -> None:
    """Make write errors of both streams OutputErrors. Writes to a stream that was closed at the start keep failing."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        was = getattr(sys, name)
        if was is None:
            # Otherwise the next file or connection would get this descriptor, and output would go into it.
            unwritable = os.open(os.devnull, os.O_RDONLY)
            os.dup2(unwritable, number)
            if unwritable != number:
                os.close(unwritable)
        elif not (isinstance(was, io.TextIOWrapper) and _descriptor(was) == number):
            continue  # a caller in this process has replaced the stream to capture the output
        setattr(
            sys,
            name,
            io.TextIOWrapper(
                io.BufferedWriter(_Stream(number, "wb", closefd=False)),
                encoding="utf-8" if was is None else was.encoding,
                errors="replace",  # a terminal without "…" in its encoding still gets the rest
                line_buffering=was is None or was.line_buffering,
            ),
        )


def settle() -> None:
    """Flush standard output. Raises OSError.

    A file is also synced to its disk, because a full disk may be noticed only then.
    """
    sys.stdout.flush()
    with contextlib.suppress(io.UnsupportedOperation):
        number = sys.stdout.fileno()
        if stat.S_ISREG(os.fstat(number).st_mode):
            os.fsync(number)


def give_up() -> None:
    """Discard further output of a stream that fails. Otherwise the interpreter would report an error when it exits."""
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
