"""A file that is made once: for its owner's eyes only, never over another one, never half."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from ostiary.cli.terminal import MisusedError


@contextmanager
def new_file(path: Path) -> Iterator[tuple[TextIO, Callable[[], None]]]:
    """A file to write, and the function that gives it its name, with mode 0600; without that nothing stays.

    Whether that can be done is known before the block begins: MisusedError. What goes wrong later is a ClickException.
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
        os.link(part, path)  # unlike a rename, never over what is there

    try:
        _try_to_link(path, part)
        yield file, finish
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        with contextlib.suppress(OSError):  # `finish` has told it
            file.close()
        Path(part).unlink()


def _try_to_link(path: Path, part: str) -> None:
    """Not every file system has hard links, and what the block does may not be undone."""
    try:
        os.link(part, f"{part}~")
        Path(f"{part}~").unlink()
    except OSError as error:
        raise MisusedError(f"{path} cannot be written: {error.strerror}.") from None
