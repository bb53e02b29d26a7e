"""The core has no side effects, and the result of a service depends on its arguments only."""

import ast

import pytest

from tests.house.source import Module, found_by, module

WORLD = {
    "asyncio",
    "logging",
    "os",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
"""Clocks, random bytes, files, the network and threads. Only `tx` or the wiring may provide them."""
CALLS = {
    "now",
    "utcnow",
    "today",
    "uuid1",
    "uuid4",
    "time_ns",
    "urandom",
    "open",
    "print",
    "input",
    "read_text",
}
ROOMS = ("core", "services", "auth")


def impure(each: Module) -> set[str]:
    called = [node.func for node in ast.walk(each.tree) if isinstance(node, ast.Call)]
    names = {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in called}
    return ({name.split(".")[0] for name in each.imports()} & WORLD) | (names & CALLS)


def test_nothing_of_the_world_gets_in() -> None:
    """Architecture breaks: the same arguments give different results, so a test cannot control the clock."""
    assert found_by(lambda each: each.room in ROOMS and impure(each)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "import time",
        "from secrets import token_bytes",
        "import datetime\nx = datetime.datetime.now()",
        "def f():\n    return uuid.uuid4()",
        "x = open('y')",
        "from os.path import join",
    ],
)
def test_this_rule_sees_what_it_forbids(text: str) -> None:
    """Architecture breaks unseen: the rule no longer detects a clock."""
    assert impure(module("core/x.py", text))
