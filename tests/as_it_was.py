"""One PostgreSQL database that is reset for each test. Creating and dropping a database takes fifty times as long."""

from pathlib import Path

import psycopg

from ostiary.storage import engines, tables
from tests.cast import House, move_in
from tests.servers import Postgres

TABLES = [table.name for table in tables.metadata.sorted_tables]
SCHEMA = """
    SELECT array_agg((relname, relkind, relnatts, relchecks, relhastriggers, relhasrules) ORDER BY relname)::text
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""
"""Every table, column and sequence that a test could create, drop or rename."""
LEAVE = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class LivedIn:
    """A database with the cast. A copy of its original rows is in a separate schema."""

    def __init__(self, server: Postgres, data: Path) -> None:
        self._server = server
        self._number = 0
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_house TEMPLATE template_ostiary")
        self.house: House = move_in(engines.connect(server.url("template_house")), data)
        """The cast. Use it only to make copies."""
        self.house.close()
        with psycopg.connect(server.url("template_house")) as connection:
            connection.execute("CREATE SCHEMA kept")
            for name in TABLES:
                connection.execute(f"CREATE TABLE kept.{name} AS TABLE public.{name}".encode())
            found = connection.execute("SELECT sequencename, last_value FROM pg_sequences").fetchall()
            self._schema = connection.execute(SCHEMA).fetchone()
        self._back = ";".join(
            [
                "SET session_replication_role = replica",  # disables triggers and the order of foreign keys
                *(f"DELETE FROM public.{name}" for name in TABLES),
                *(f"INSERT INTO public.{name} OVERRIDING SYSTEM VALUE TABLE kept.{name}" for name in TABLES),
                *(
                    f"SELECT setval('public.{name}', {value or 1}, {value is not None})"
                    for name, value in found
                ),
            ]
        ).encode()

    def as_it_was(self) -> str:
        """Return the URL of the database, reset to the rows of the cast, with no open connections."""
        if self._number:
            with psycopg.connect(self._server.url(self._name())) as connection:
                connection.execute(LEAVE)
                if connection.execute(SCHEMA).fetchone() == self._schema:
                    connection.execute(self._back)
                    return self._server.url(self._name())
        # This is the first call, or a test changed the schema.
        self._number += 1
        with psycopg.connect(self._server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self._name()} TEMPLATE template_house".encode())
        return self._server.url(self._name())

    def _name(self) -> str:
        return f"lived_in_{self._number}"
