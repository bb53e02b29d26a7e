"""Who may import whom: `core ← storage ← services ← http`; house.md §1."""

import sys

import pytest

from tests.house.source import Module, found_by, module, modules

ROOMS = {
    # room: what it may import of ours
    "core": {"core"},
    "storage": {"core", "storage"},
    "services": {"core", "storage", "services"},
    "http": {"core", "storage", "services", "http", "config", "logs", "memory"},
    "client": {"core", "client"},
    "cli": {"core", "client", "config", "http", "logs", "memory", "cli"},
    "setting_values": {"core"},
    "config": {"core", "setting_values"},
    "data_directory": {"core", "config"},
    "logs": {"core"},
    "memory": set(),
}
INSTALLATION = "http/installation.py"
"""What opens the data directory and its database."""

THIRD_PARTIES = {
    # Who a room may know beside the standard library. `client` and `cli` are what installs without [server].
    "core": {"cryptography", "joserfc"},
    "storage": {"sqlalchemy", "alembic", "psycopg", "pysqlite3"},
    "services": {"argon2"},
    "http": {
        "anyio",
        "fastapi",
        "httpcore2",
        "orjson",
        "prometheus_client",
        "pydantic",
        "starlette",
        "structlog",
        "uvicorn",
        "uvloop",
    }
    | {"jinja2", "markdown_it", "markupsafe", "pygments", "typing_extensions"},
    "client": {"httpx2"},
    "cli": {"click", "platformdirs", "rich"},
    "setting_values": {"pydantic"},
    "config": {"pydantic", "pydantic_core"},
    "data_directory": set(),
    "logs": {"structlog"},
    "memory": set(),
}


def ours(each: Module) -> set[str]:
    return {name.split(".")[1] for name in each.imports() if name.startswith("ostiary.")}


def others(each: Module) -> set[str]:
    tops = {name.split(".")[0] for name in each.imports()}
    return tops - {"ostiary"} - sys.stdlib_module_names


def wrong(each: Module) -> set[str]:
    """What this module imports and may not. The package itself imports nothing."""
    if not each.room:
        return set(each.imports())
    found = (ours(each) - ROOMS[each.room] - {"__version__"}) | (others(each) - THIRD_PARTIES[each.room])
    return found - {"data_directory", "sqlalchemy"} if each.path == INSTALLATION else found


def test_imports_go_one_way() -> None:
    """§1 of the house breaks: a room imports one to its right, or somebody's library that is not its business."""
    assert found_by(wrong) == {}


def test_the_rooms_are_these() -> None:
    """§1 of the house breaks: a room that no picture shows, or that is not built yet."""
    assert {each.room for each in modules()} - {""} == set(ROOMS)


@pytest.mark.parametrize(
    "path, text",
    [
        ("core/x.py", "from ostiary.storage import store"),
        ("core/x.py", "import pydantic"),
        ("core/x.py", "def f():\n    from ostiary.http import app"),
        ("storage/x.py", "from ostiary.services.audit import change"),
        ("storage/x.py", "from ..services import audit"),
        ("storage/migrations/x.py", "from ...http import app"),
        ("services/x.py", "import ostiary.http.app"),
        ("services/x.py", "import sqlalchemy as sa"),
        ("http/door.py", "from sqlalchemy import select"),
        ("http/door.py", "from ostiary.cli import main"),
        ("http/app.py", "import click"),
        ("http/app.py", "from ostiary import data_directory"),
        ("client/x.py", "from ostiary import config"),
        ("cli/x.py", "from ostiary.storage import engines"),
    ],
)
def test_this_rule_sees_what_it_forbids(path: str, text: str) -> None:
    """§1 of the house breaks unseen: the rule above no longer notices what it is there for."""
    assert wrong(module(path, text))
