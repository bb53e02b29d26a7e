"""Damages a SQLite file: finds the pages of chosen tables and indexes by the file format and overwrites them."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from ostiary.storage.engines import sqlite_module

INTERIOR = (2, 5)
"""The types of interior pages of an index and of a table."""


def checkpoint(path: Path) -> None:
    """Checkpoint the write-ahead log, so that reads use the pages of the file."""
    with contextlib.closing(sqlite_module.connect(path, timeout=5)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def leaves(path: Path, name: str) -> list[int]:
    """Return the numbers of the pages that hold the entries of a table or index."""
    with contextlib.closing(sqlite_module.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    return list(_leaves(path.read_bytes(), size, row[0]))


def _leaves(data: bytes, size: int, number: int) -> Iterator[int]:
    page = data[(number - 1) * size : number * size]
    if page[0] not in INTERIOR:
        yield number
        return
    cells = int.from_bytes(page[3:5])
    for cell in range(cells):
        at = int.from_bytes(page[12 + 2 * cell : 14 + 2 * cell])
        yield from _leaves(data, size, int.from_bytes(page[at : at + 4]))
    yield from _leaves(data, size, int.from_bytes(page[8:12]))


def overwrite(path: Path, pages: list[int], seed: int | None = None) -> None:
    """Overwrite whole pages with zeros, or with random bytes."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(18)[16:])
        for number in pages:
            file.seek((number - 1) * size)
            file.write(bytes(size) if seed is None else random.Random(seed + number).randbytes(size))
