"""Which packages may import which.

`core ← storage, ratelimit ← services, auth ← http ← api, oauth, console, manual ← node ← cli`; `client` imports `core` only.
"""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.house.source import Module, found_by, module, modules

LOWER = {"core", "storage", "ratelimit"}
INSIDE = LOWER | {"services", "auth", "http"}
"""Our packages that each surface may import. Surfaces do not import each other."""
ROOMS = {
    # package: the packages of ours that it may import
    "core": {"core"},
    "storage": {"core", "storage"},
    "ratelimit": LOWER,
    "services": {"core", "storage", "services"},
    "auth": LOWER | {"auth"},
    "http": INSIDE | {"logs"},
    "api": INSIDE | {"api"},
    "oauth": INSIDE | {"oauth"},
    "console": INSIDE | {"console"},
    "manual": INSIDE | {"api", "manual"},
    "node": INSIDE
    | {"api", "oauth", "console", "manual", "node"}
    | {"config", "data_directory", "logs", "memory"},
    "client": {"core", "client"},
    "cli": {"core", "client", "config", "node", "logs", "memory", "cli"},
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
    "manual/responses.py": "the OpenAPI document, which is ours",
    "cli/logins.py": "the file that the command line wrote itself",
    "cli/token_source.py": "key files, which the service made",
}
"""The modules that may parse JSON, and what they parse."""
THIRD_PARTIES = {
    # The packages that may import a third-party library. `client` and `cli` are what installs without [server].
    "core": {"cryptography", "joserfc"},
    "storage": {"sqlalchemy", "alembic", "psycopg", "pysqlite3"},
    "services": {"argon2"},
    "auth": set(),
    "ratelimit": set(),
    "http": {"anyio", "httpcore2", "orjson", "starlette", "structlog", "typing_extensions", "uvicorn"},
    "api": {"fastapi", "orjson", "pydantic", "starlette", "structlog", "typing_extensions"},
    "oauth": {"anyio", "orjson", "starlette"},
    "console": {"anyio", "jinja2", "starlette"},
    "manual": {"jinja2", "markdown_it", "markupsafe", "pygments", "starlette"},
    "node": {
        "anyio",
        "fastapi",
        "prometheus_client",
        "sqlalchemy",
        "starlette",
        "structlog",
        "uvicorn",
        "uvloop",
    },
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
    """Return the forbidden imports of a module. The package `ostiary` itself may import nothing."""
    if not each.room:
        return set(each.imports())
    return (ours(each) - ROOMS[each.room] - {"__version__"}) | (others(each) - THIRD_PARTIES[each.room])


def test_imports_go_one_way() -> None:
    """Architecture breaks: a package imports one to its right, or a third-party library that it must not use."""
    assert found_by(wrong) == {}


def circles() -> list[set[str]]:
    """Return the groups of modules that import each other, directly or indirectly, at any depth of the code."""
    names = {each.name for each in modules()}
    imported = {
        each.name: {name if name in names else name.rpartition(".")[0] for name in each.imports()}
        & names - {each.name}
        for each in modules()
    }
    reached = {name: set(found) for name, found in imported.items()}
    for middle in names:
        for found in reached.values():
            if middle in found:
                found |= reached[middle]
    return [each for name in sorted(names) if (each := {o for o in reached[name] if name in reached[o]})]


def test_no_modules_import_each_other() -> None:
    """Architecture breaks: two modules import each other, so neither can be understood alone."""
    assert circles() == []


def test_a_public_class_has_a_name_of_its_own() -> None:
    """Architecture breaks: two public classes have the same name."""
    names = Counter(
        node.name
        for each in modules()
        for node in each.tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, number in names.items() if number > 1] == []


def test_the_rooms_are_these() -> None:
    """Architecture breaks: a package has no import rule, or a rule names a package that does not exist."""
    assert {each.room for each in modules()} - {""} == set(ROOMS)


@pytest.mark.parametrize(
    "path, text",
    [
        ("core/x.py", "from ostiary.storage import store"),
        ("core/x.py", "import pydantic"),
        ("core/x.py", "def f():\n    from ostiary.node import app"),
        ("storage/x.py", "from ostiary.services.audit import change"),
        ("storage/x.py", "from ..services import audit"),
        ("storage/migrations/x.py", "from ...node import app"),
        ("services/x.py", "import ostiary.node.app"),
        ("services/x.py", "import sqlalchemy as sa"),
        ("services/x.py", "from ostiary.auth.rates import Rates"),
        ("auth/x.py", "from ostiary.http import messages"),
        ("auth/x.py", "from ostiary.services import callers"),
        ("auth/x.py", "import orjson"),
        ("http/edge.py", "from sqlalchemy import select"),
        ("http/edge.py", "from ostiary.cli import main"),
        ("node/app.py", "import click"),
        ("api/x.py", "from ostiary.oauth import token"),
        ("console/x.py", "from ostiary.api import route"),
        ("oauth/x.py", "from ostiary.node import app"),
        ("client/x.py", "from ostiary import config"),
        ("cli/x.py", "from ostiary.storage import engines"),
    ],
)
def test_this_rule_sees_what_it_forbids(path: str, text: str) -> None:
    """Architecture breaks unseen: the import rule no longer detects forbidden imports."""
    assert wrong(module(path, text))


NOT_AT_THE_START = {
    "alembic",  # only for schema migrations
    "psycopg",  # only with PostgreSQL
    "jinja2",  # only for pages
    "markdown_it",  # only for the manual
    "httpx2",  # only for commands that call a service
    "rich",  # only for commands on a terminal
    "pygments",  # only for the manual
}


def test_a_start_imports_only_what_it_needs(tmp_path: Path) -> None:
    """S10 breaks: `ostiary serve` starts slower and uses more memory, for libraries that most services never use."""
    probe = (
        "import gc, sys; from ostiary.cli.main import run; code = run(['serve', '--data', sys.argv[1]]); "
        "print(code, gc.isenabled(), *sys.modules)"
    )
    # The directory has no data, so the process ends after its imports.
    done = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path)], capture_output=True, text=True, check=True
    )
    code, collecting, *loaded = done.stdout.split()
    assert (code, collecting) == ("2", "True")
    assert "ostiary.node.processes" in loaded
    assert NOT_AT_THE_START.intersection(loaded) == set()


def test_the_fact_cache_is_brought_up_to_date_in_one_place() -> None:
    """P2 breaks: an endpoint decides by stale facts, or each endpoint refreshes them in its own way."""
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
    """B8 breaks: two JSON parsers read the same document differently."""
    readers = {
        each.path
        for each in modules()
        for node in ast.walk(each.tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("json.loads", "orjson.loads", "json.JSONDecoder")
    }
    assert readers == set(JSON_READERS)
