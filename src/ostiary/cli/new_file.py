"""A file that is made once: for its owner's eyes only, never over another one, never half."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from ostiary.cli.terminal import MisusedError


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """What is written gets its name, with mode 0600, when the block ends well; else nothing stays.

    Whether that can be done is known before the block begins: MisusedError. What goes wrong later is a ClickException.
    """
    if path.exists() or path.is_symlink():
        raise MisusedError(f"{path} exists; choose another name.")
    try:
        fd, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    except OSError as error:
        raise MisusedError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            _try_to_link(path, part)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename, never over what is there
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        Path(part).unlink()


def _try_to_link(path: Path, part: str) -> None:
    """Not every file system has hard links, and what the block does may not be undone."""
    try:
        os.link(part, f"{part}~")
        Path(f"{part}~").unlink()
    except OSError as error:
        raise MisusedError(f"{path} cannot be written: {error.strerror}.") from None
