"""The first schema. Until the first release it is created from `tables.py`; from then on it is frozen here."""

from alembic import op

from ostiary.storage import authorization_tables, tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    assert authorization_tables.metadata is tables.metadata
    tables.metadata.create_all(op.get_bind(), checkfirst=False)
