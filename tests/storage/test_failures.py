"""A full check of the database, on SQLite and PostgreSQL."""

import contextlib
from pathlib import Path

from ostiary.storage.engines import Engines, sqlite_module
from ostiary.storage.failures import faults
from tests.cast import House


def test_a_sound_database_has_no_faults(database: Engines) -> None:
    """P12 breaks: `doctor` cannot check a database, or reports damage where there is none."""
    assert faults(database.reader) == []


def test_rows_that_refer_to_nothing_are_named(sqlite_house: House) -> None:
    """P11 breaks: `doctor` reports no fault although rows refer to missing rows."""
    engines = sqlite_house.store.engines
    path = Path(str(engines.reader.url.database))
    with contextlib.closing(sqlite_module.connect(path)) as connection:
        connection.execute("UPDATE credentials SET organization_id = 'nobody'")
        connection.commit()
    assert any("of credentials refers to nothing in organizations" in each for each in faults(engines.reader))
