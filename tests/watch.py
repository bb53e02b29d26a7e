"""Records the SQL that reaches a database during a test, through SQLAlchemy or the driver."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from ostiary.storage import selects
from ostiary.storage.engines import Engines
from ostiary.storage.selects import PreparedStatements


@contextmanager
def statements(
    database: Engines, answered: Callable[[str], object] = lambda _text: None
) -> Iterator[list[str]]:
    """Yield the list of SQL statements that are sent. `answered` is called after each read, in the same thread."""
    sent: list[str] = []
    alone = selects.select

    def before(*arguments: Any) -> None:
        sent.append(arguments[2])

    def after(*arguments: Any) -> None:
        answered(arguments[2])

    def select(
        reader: sa.Engine, kept: PreparedStatements, statement: sa.Select[Any], parameters: Mapping[str, Any]
    ) -> list[Any]:
        if reader is not database.reader:
            return alone(reader, kept, statement, parameters)
        sent.append(str(statement))
        rows = alone(reader, kept, statement, parameters)
        answered(str(statement))
        return rows

    listeners: list[tuple[sa.Engine, str, Callable[..., None]]] = [
        (database.reader, "before_cursor_execute", before),
        (database.writer, "before_cursor_execute", before),
        (database.reader, "after_cursor_execute", after),
    ]
    for each in listeners:
        sa.event.listen(*each)
    selects.select = select  # wrapped, not replaced
    try:
        yield sent
    finally:
        selects.select = alone
        for each in listeners:
            sa.event.remove(*each)
