"""SQLite only: the write-ahead log, which one process checkpoints for all."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ostiary.storage import engines
from ostiary.storage.engines import Engines
from tests.cast import migrated

ROWS = 400
PATIENCE = 30.0


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Engines]:
    """An engine that does not checkpoint, as workers have."""
    path = tmp_path / "ostiary.db"
    migrated(engines.connect(engines.sqlite_url(path))).dispose()
    found = engines.connect(engines.sqlite_url(path), checkpoints=False)
    yield found
    found.dispose()


@pytest.fixture
def tasks(worker: Engines, tmp_path: Path) -> Iterator[Engines]:
    found = engines.connect(engines.sqlite_url(tmp_path / "ostiary.db"))
    yield found
    found.dispose()


def write(worker: Engines) -> None:
    """Commit more pages than SQLite would leave in the log by default (1,000 of 4 KiB)."""
    for _ in range(ROWS):
        with worker.writer.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO changes (kind, id, at) VALUES ('credential', :id, 0)"),
                {"id": "x" * 12_000},
            )


def log_size(folder: Path) -> int:
    return (folder / "ostiary.db-wal").stat().st_size


def test_a_worker_leaves_the_log_alone(worker: Engines, tasks: Engines, tmp_path: Path) -> None:
    """R20 breaks: a worker checkpoints at the same time as the periodic tasks."""
    with tasks.reader.connect() as connection:
        connection.execute(sa.text("SELECT 1"))  # closing the last connection would checkpoint
        write(worker)
        before = (tmp_path / "ostiary.db").stat().st_size
        assert log_size(tmp_path) > 1_000 * 4096
        engines.checkpoint(tasks)
        assert (tmp_path / "ostiary.db").stat().st_size > before + ROWS * 12_000


def test_a_log_that_has_grown_is_emptied(
    worker: Engines, tasks: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R20 breaks: under constant commits the log never starts over, and fills the disk."""
    monkeypatch.setattr(engines, "LARGE_LOG", 500)
    stop, failed = threading.Event(), []

    def write_on() -> None:
        try:
            while not stop.is_set():
                write(worker)
        except Exception as error:  # reported by the assertion below
            failed.append(error)

    thread = threading.Thread(target=write_on)
    write(worker)
    thread.start()
    try:
        before = log_size(tmp_path)
        for _ in range(50):
            engines.checkpoint(tasks)
            if log_size(tmp_path) < before:
                break
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert log_size(tmp_path) < before
    assert failed == []
