"""Runs one SELECT directly on the driver, without SQLAlchemy's overhead, for look-ups on the path of a request."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ostiary.storage import failures


@dataclass(frozen=True, slots=True)
class Prepared:
    """A SELECT in the driver's form, and the functions that convert its rows."""

    text: str
    names: tuple[str, ...] | None
    """The parameters in order; None if the driver takes them by name."""
    values: Mapping[str, Any]
    """The parameters whose values are part of the statement."""
    row: Callable[[Sequence[Any]], Any]
    conversions: tuple[tuple[int, Callable[[Any], Any]], ...]
    """Columns whose values need a conversion, such as lists of names."""


PreparedStatements = dict[sa.Select[Any], Prepared]
"""Statements that were prepared for one engine."""


def select(
    reader: sa.Engine, kept: PreparedStatements, statement: sa.Select[Any], parameters: Mapping[str, Any]
) -> list[Any]:
    """Return the rows of one SELECT as named tuples, outside of any transaction. One SELECT is a snapshot by itself.

    SQLAlchemy compiles each statement once, and provides the connection and the types. Its work for each execution,
    which takes several times as long as a look-up by key, is left out. Parameters go to the driver unchanged. Raises
    the errors of SQLAlchemy. Compiled statements are kept for ever, so pass only statements that a module makes once.
    """
    prepared = kept.get(statement)
    if prepared is None:
        prepared = kept[statement] = _prepared(reader.dialect, statement)
    names, row, conversions = prepared.names, prepared.row, prepared.conversions
    given: Any = {**prepared.values, **parameters}
    if names is not None:
        given = [given[name] for name in names]
    found = []
    for values in _fetched(reader, prepared.text, given):
        converted = list(values)
        for index, convert in conversions:
            converted[index] = convert(converted[index])
        found.append(row(converted))
    return found


def _prepared(dialect: sa.Dialect, statement: sa.Select[Any]) -> Prepared:
    compiled: Any = statement.compile(dialect=dialect)
    columns = statement.selected_columns
    make: Any = namedtuple
    processors = (column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns)
    return Prepared(
        str(compiled),
        tuple(compiled.positiontup) if compiled.positional else None,
        compiled.params,
        make("Row", columns.keys())._make,
        tuple((index, each) for index, each in enumerate(processors) if each is not None),
    )


def _fetched(engine: sa.Engine, text: str, parameters: Any) -> Sequence[Sequence[Any]]:
    dialect = engine.dialect
    errors = dialect.loaded_dbapi.Error
    connection = None
    try:
        connection = engine.raw_connection()
        cursor: Any = connection.cursor()
        try:
            cursor.execute(text, parameters)
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
        finally:
            cursor.close()
    except errors as error:
        lost = dialect.is_disconnect(error, connection, None)
        if connection is not None and lost:
            connection.invalidate(error)
            engine.dispose()  # the idle connections of the pool are lost as well
        raise failures.wrapped(error, dialect, lost) from error
    finally:
        if connection is not None:
            connection.close()
    return rows
