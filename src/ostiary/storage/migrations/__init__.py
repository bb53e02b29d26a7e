"""Schema versions, with Alembic. `upgrade` runs missing migrations; comparing `version` with `HEAD` shows if any are.

Only `upgrade` imports Alembic. A service that starts on a current schema does not need it.
"""

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from ostiary.storage import engines as engines_room
from ostiary.storage.engines import Engines

HEAD: Final = "0001"
"""The schema version that this program needs: the newest in `versions/`."""

_VERSIONS: Final = sa.table("alembic_version", sa.column("version_num"))


def upgrade(engines: Engines) -> None:
    """Bring the schema up to date in one transaction. If it was interrupted, run it again."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    with engines.writer.begin() as connection:
        engines_room.lock_schema(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def version(engines: Engines) -> str | None:
    """Return the schema version of the database; None if it has none."""
    with engines.reader.begin() as connection:
        if not sa.inspect(connection).has_table(_VERSIONS.name):
            return None
        found: str | None = connection.execute(sa.select(_VERSIONS.c.version_num)).scalar_one_or_none()
        return found
