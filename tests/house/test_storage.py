"""Only `storage` contains SQL, and only engines.py contains differences between the databases."""

import ast
import re

import pytest

from tests.house.source import Module, found_by, module, modules

SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+INTO\b|UPDATE\s+\w+\s+SET\b|DELETE\s+FROM\b|PRAGMA\s|BEGIN\b|COMMIT\b|ROLLBACK\b"
    r"|(CREATE|ALTER|DROP)\s+(TABLE|INDEX|DATABASE)\b|WITH\s+\w+\s+AS\b|LISTEN\s|NOTIFY\s)"
)
DRIVERS = {"sqlalchemy", "alembic", "psycopg", "sqlite3", "pysqlite3"}
OUTAGE = {"sqlalchemy.exc.DBAPIError"}
"""The one database exception that node/installation.py may import: the database did not respond."""

ENGINE_NAME = re.compile(r"\b(sqlite|postgres(ql)?|psycopg)\b|_(sqlite|postgresql)_")
NAMES_ENGINES = {
    "storage/engines.py": "what differs, side by side",
    "storage/failures.py": "what the failures of each mean",
    "storage/selects.py": "statements as each driver takes them",
    "storage/tables.py": "the schema, where only DDL knows the difference",
    "config.py": "how a database is named in the documentation of its setting",
    "setting_values.py": "the forms of a database's URL",
}


def sql_outside(each: Module) -> list[str]:
    if each.room == "storage":
        return []
    imported = [name for name in each.imports() if name.split(".")[0] in DRIVERS]
    if each.path == "node/installation.py":
        imported = [name for name in imported if name not in OUTAGE]
    return imported + [text for text in each.texts() if SQL.match(text)]


def engine_names(each: Module) -> list[str]:
    """Return the code that distinguishes databases: strings, dialects, options of one dialect."""
    if each.path in NAMES_ENGINES:
        return []
    found = [text for text in each.texts() if ENGINE_NAME.search(text)]
    for node in ast.walk(each.tree):
        if isinstance(node, ast.Attribute) and node.attr == "dialect":
            found.append(ast.unparse(node))
        elif isinstance(node, ast.keyword) and (node.arg or "").startswith(("sqlite_", "postgresql_")):
            found.append(str(node.arg))
    return found


def test_sql_is_in_storage() -> None:
    """Architecture breaks: SQL is outside of the package that is tested on both databases."""
    assert found_by(sql_outside) == {}


def test_databases_differ_in_one_module() -> None:
    """P12 breaks: a difference between the databases is outside of engines.py."""
    assert found_by(engine_names) == {}


def test_the_reviewed_list_is_not_stale() -> None:
    """P12 breaks: the list of exceptions names a module that does not exist."""
    assert {each.path for each in modules()} >= NAMES_ENGINES.keys()


@pytest.mark.parametrize(
    "text",
    [
        "import sqlalchemy as sa",
        "from sqlite3 import connect",
        "x = 'SELECT 1'",
        "x = f'DELETE FROM {table}'",
        "def f():\n    g('''\n  UPDATE things SET a = 1''')",
    ],
)
def test_this_rule_sees_sql(text: str) -> None:
    """Architecture breaks unseen: the rule about SQL no longer detects any."""
    assert sql_outside(module("services/x.py", text))


@pytest.mark.parametrize(
    "text", ["if name == 'sqlite': pass", "x.dialect.name", "f(postgresql_where=1)", "x = 'on postgresql'"]
)
def test_this_rule_sees_a_database(text: str) -> None:
    """P12 breaks unseen: the rule about databases no longer detects a difference."""
    assert engine_names(module("storage/x.py", text))
