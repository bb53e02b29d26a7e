"""The schema's version: what the program needs, and what a database says of itself."""

from pathlib import Path

from alembic.script import ScriptDirectory

from ostiary.storage import engines, migrations


def test_the_head_is_the_newest_migration() -> None:
    """P21 breaks: after an upgrade the service starts on a schema that it does not know, or on none."""
    newest = ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head()
    assert newest == migrations.HEAD


def test_a_database_tells_its_version(tmp_path: Path) -> None:
    """P21 breaks: an empty database is taken for an initialised one, or the other way round."""
    database = engines.connect(engines.sqlite_url(tmp_path / "ostiary.db"))
    try:
        assert migrations.version(database) is None
        migrations.upgrade(database)
        assert migrations.version(database) == migrations.HEAD
    finally:
        database.dispose()
