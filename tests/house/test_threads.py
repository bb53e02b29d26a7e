"""Functions that use the store are plain `def`: they run in a thread, never on the event loop."""

import ast

import pytest

from tests.house.source import Module, found_by, module, modules

STORE = {"store", "_store", "engines"}
BLOCKING = {"sync", "load_standing", "load_projects", "answer_cold", "identify", "write_counts", "sleep"}
"""Methods that read or write the database, or wait. A coroutine may pass them to a thread, but not call them."""
METHODS = {"get", "post", "put", "patch", "delete"}


def coroutines(each: Module) -> list[ast.AsyncFunctionDef]:
    return [node for node in ast.walk(each.tree) if isinstance(node, ast.AsyncFunctionDef)]


def touched(each: Module) -> list[str]:
    """Return the forbidden uses in coroutines of this module."""
    found = []
    for coroutine in coroutines(each):
        for node in ast.walk(coroutine):
            if isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                if name in STORE:
                    found.append(f"{coroutine.name}: {ast.unparse(node)}")
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in BLOCKING:
                found.append(f"{coroutine.name}: {ast.unparse(node)}")
    return found


def test_no_coroutine_touches_the_store() -> None:
    """P20 breaks: one slow query stops every request of the process."""
    assert found_by(touched) == {}


EVENT_LOOP = ("http", "api", "oauth", "console", "manual", "node")


def test_coroutines_live_where_the_event_loop_is() -> None:
    """Architecture breaks: a service or the storage contains a coroutine."""
    assert (
        found_by(lambda each: each.room not in EVENT_LOOP and [node.name for node in coroutines(each)]) == {}
    )


def handlers() -> list[tuple[str, ast.AST]]:
    return [
        (f"{each.path}:{node.name}", node)
        for each in modules()
        if each.path.startswith("api/")
        for node in each.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr in METHODS
    ]


def test_a_handler_runs_in_a_thread() -> None:
    """P20 breaks: a handler of the management API runs on the event loop."""
    assert len(handlers()) >= 20
    assert [name for name, node in handlers() if not isinstance(node, ast.FunctionDef)] == []


@pytest.mark.parametrize(
    "text",
    [
        "async def f(w):\n    w.store.read(1)",
        "async def f(store):\n    return store.write(1)",
        "async def f(x):\n    def g():\n        return x._store\n    g()",
        "class A:\n    async def f(self):\n        self.facts.sync()",
        "async def f():\n    time.sleep(1)",
    ],
)
def test_this_rule_sees_what_it_forbids(text: str) -> None:
    """P20 breaks unseen: the rule about coroutines no longer detects one that waits."""
    assert touched(module("http/x.py", text))
