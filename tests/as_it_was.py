"""One database of PostgreSQL's that is put back as it was: to make and drop one for each test takes fifty times as long."""

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
"""What a test may have made, dropped or renamed."""
LEAVE = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class LivedIn:
    """A database in which the cast lives; its rows as they were are in a schema of their own."""

    def __init__(self, server: Postgres, data: Path) -> None:
        self._server = server
        self._number = 0
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_house TEMPLATE template_ostiary")
        self.house: House = move_in(engines.connect(server.url("template_house")), data)
        """The cast; to be asked for a copy only."""
        self.house.close()
        with psycopg.connect(server.url("template_house")) as connection:
            connection.execute("CREATE SCHEMA kept")
            for name in TABLES:
                connection.execute(f"CREATE TABLE kept.{name} AS TABLE public.{name}".encode())
            found = connection.execute("SELECT sequencename, last_value FROM pg_sequences").fetchall()
            self._schema = connection.execute(SCHEMA).fetchone()
        self._back = ";".join(
            [
                "SET session_replication_role = replica",  # no trigger, and in any order
                *(f"DELETE FROM public.{name}" for name in TABLES),
                *(f"INSERT INTO public.{name} OVERRIDING SYSTEM VALUE TABLE kept.{name}" for name in TABLES),
                *(
                    f"SELECT setval('public.{name}', {value or 1}, {value is not None})"
                    for name, value in found
                ),
            ]
        ).encode()

    def as_it_was(self) -> str:
        """The URL of the database with the rows of the cast and no others, and nobody connected to it."""
        if self._number:
            with psycopg.connect(self._server.url(self._name())) as connection:
                connection.execute(LEAVE)
                if connection.execute(SCHEMA).fetchone() == self._schema:
                    connection.execute(self._back)
                    return self._server.url(self._name())
        # The first one, or the schema is another one now.
        self._number += 1
        with psycopg.connect(self._server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self._name()} TEMPLATE template_house".encode())
        return self._server.url(self._name())

    def _name(self) -> str:
        return f"lived_in_{self._number}"
