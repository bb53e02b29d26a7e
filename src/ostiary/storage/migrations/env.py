"""Alembic's entry: it migrates over the connection that `upgrade` hands it, in that transaction."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True, transaction_per_migration=False)
context.run_migrations()
