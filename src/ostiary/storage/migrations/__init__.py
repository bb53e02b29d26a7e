"""Schema versions by Alembic. `upgrade` runs what is missing; `version` and `head` say whether anything is."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ostiary.storage import engines as engines_room
from ostiary.storage.engines import Engines


def upgrade(engines: Engines) -> None:
    """Bring the schema up to date in one transaction. Running it again finishes what was interrupted."""
    config = _config()
    with engines.writer.begin() as connection:
        engines_room.lock_schema(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def version(engines: Engines) -> str | None:
    """The schema version of the database; None if it has none."""
    with engines.reader.begin() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The schema version that this program needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config
