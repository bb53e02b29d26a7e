"""Creates a new file: readable by its owner only, never over an existing file, never incomplete."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from ostiary.cli.invocation import MisusedError


@contextmanager
def new_file(path: Path) -> Iterator[tuple[TextIO, Callable[[], None]]]:
    """Yield a file to write, and a function `finish` that creates `path` with its content and mode 0600.

    Without a call of `finish`, no file remains. Raises MisusedError, before the block runs, if `path` cannot be created,
    and ClickException if writing fails later.
    """
    if path.exists() or path.is_symlink():
        raise MisusedError(f"{path} exists; choose another name.")
    try:
        fd, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    except OSError as error:
        raise MisusedError(f"{path} cannot be written: {error.strerror}.") from None
    file = os.fdopen(fd, "w", encoding="utf-8")

    def finish() -> None:
        file.flush()
        os.fsync(fd)
        os.link(part, path)  # unlike a rename, this never replaces an existing file

    try:
        _try_to_link(path, part)
        yield file, finish
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        with contextlib.suppress(OSError):  # `finish` has raised it already
            file.close()
        Path(part).unlink()


def _try_to_link(path: Path, part: str) -> None:
    """Raise MisusedError if the file system has no hard links. Checked first, because the block may not be undoable."""
    try:
        os.link(part, f"{part}~")
        Path(f"{part}~").unlink()
    except OSError as error:
        raise MisusedError(f"{path} cannot be written: {error.strerror}.") from None
