"""The first schema. Until the first release it is `tables.py` as it stands; from then on it is frozen here."""

from alembic import op

from ostiary.storage.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
