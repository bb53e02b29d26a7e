"""Schema versions, with Alembic. `upgrade` runs missing migrations; comparing `version` with `head` shows if any are."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ostiary.storage import engines as engines_room
from ostiary.storage.engines import Engines


def upgrade(engines: Engines) -> None:
    """Bring the schema up to date in one transaction. If it was interrupted, run it again."""
    config = _config()
    with engines.writer.begin() as connection:
        engines_room.lock_schema(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def version(engines: Engines) -> str | None:
    """Return the schema version of the database; None if it has none."""
    with engines.reader.begin() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """Return the schema version that this program needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config
