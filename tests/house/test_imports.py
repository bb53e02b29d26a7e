"""Who may import whom: `core ← storage ← services, auth ← http`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import Module, found_by, module, modules

ROOMS = {
    # room: what it may import of ours
    "core": {"core"},
    "storage": {"core", "storage"},
    "services": {"core", "storage", "services"},
    "auth": {"core", "storage", "auth"},
    "http": {"core", "storage", "services", "auth", "http", "config", "logs", "memory"},
    "client": {"core", "client"},
    "cli": {"core", "client", "config", "http", "logs", "memory", "cli"},
    "setting_values": {"core"},
    "config": {"core", "setting_values"},
    "data_directory": {"core", "config"},
    "logs": {"core"},
    "memory": set(),
}
JSON_READERS = {
    "core/strict_json.py": "the one reader",
    "http/messages.py": "a quick look at small flat bodies, which says what the reader says or nothing",
    "storage/tables.py": "what storage wrote itself",
    "http/manual/answers.py": "the OpenAPI document, which is ours",
    "cli/logins.py": "the file that the command line wrote itself",
    "cli/proving.py": "key files, which the service made",
}
"""Who reads JSON, and what."""
INSTALLATION = "http/installation.py"
"""What opens the data directory and its database."""

THIRD_PARTIES = {
    # Who a room may know beside the standard library. `client` and `cli` are what installs without [server].
    "core": {"cryptography", "joserfc"},
    "storage": {"sqlalchemy", "alembic", "psycopg", "pysqlite3"},
    "services": {"argon2"},
    "auth": set(),
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
    """Architecture breaks: a room imports one to its right, or somebody's library that is not its business."""
    assert found_by(wrong) == {}


def test_the_rooms_are_these() -> None:
    """Architecture breaks: a room that no picture shows, or that is not built yet."""
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
        ("services/x.py", "from ostiary.auth.rates import Rates"),
        ("auth/x.py", "from ostiary.http import messages"),
        ("auth/x.py", "from ostiary.services import callers"),
        ("auth/x.py", "import orjson"),
        ("http/door.py", "from sqlalchemy import select"),
        ("http/door.py", "from ostiary.cli import main"),
        ("http/app.py", "import click"),
        ("http/app.py", "from ostiary import data_directory"),
        ("client/x.py", "from ostiary import config"),
        ("cli/x.py", "from ostiary.storage import engines"),
    ],
)
def test_this_rule_sees_what_it_forbids(path: str, text: str) -> None:
    """Architecture breaks unseen: the rule above no longer notices what it is there for."""
    assert wrong(module(path, text))


NOT_AT_THE_START = {
    "alembic",  # only to change a schema
    "psycopg",  # only with PostgreSQL
    "jinja2",  # only for pages
    "markdown_it",  # only for the manual
    "httpx2",  # only for the commands that ask a service
    "rich",  # only for commands on a terminal
    "pygments",  # only for the manual
}


def test_a_start_imports_only_what_it_needs(tmp_path: Path) -> None:
    """S10 breaks: `ostiary serve` starts later, and each of its processes is larger, for what most services never use."""
    probe = (
        "import gc, sys; from ostiary.cli.main import run; code = run(['serve', '--data', sys.argv[1]]); "
        "print(code, gc.isenabled(), *sys.modules)"
    )
    # There is nothing in that directory, so it ends when it has imported everything.
    done = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path)], capture_output=True, text=True, check=True
    )
    code, collecting, *loaded = done.stdout.split()
    assert (code, collecting) == ("2", "True")
    assert "ostiary.http.processes" in loaded
    assert NOT_AT_THE_START.intersection(loaded) == set()


def test_the_fact_cache_is_brought_up_to_date_in_one_place() -> None:
    """P2 breaks: an endpoint judges by facts that it forgot to bring up to date, or each does it in a way of its own."""
    callers = [
        each.path
        for each in modules()
        for node in ast.walk(each.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "catch_up"
    ]
    assert callers == ["auth/authenticator.py"]


def test_documents_that_others_wrote_are_read_by_one_reader() -> None:
    """B8 breaks: a second reader of JSON takes a document otherwise than the first."""
    readers = {
        each.path
        for each in modules()
        for node in ast.walk(each.tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("json.loads", "orjson.loads", "json.JSONDecoder")
    }
    assert readers == set(JSON_READERS)
