"""Every write on behalf of a caller goes through `services.execute`. See ARCHITECTURE.md, "The ideas that carry it"."""

import ast

import pytest

from tests.house.source import Module, module, modules

EXECUTE = "services/execute.py"
"""The only module that begins a transaction with a caller."""
NO_STORES = {"file", "os", "sys.stderr", "self._stream", "self.transport", "super()"}
"""Receivers of `write` that are not stores. Any other receiver counts as a store."""
WITHOUT_CALLER = {
    # Transactions without a credential, with the reason.
    "devices.begin": "a device asks, for which no person stands yet",
    "devices.poll": "a device asks, which its code proves",
    "journal.use_up": "marks an assertion as used, which proves the client",
    "retention.delete_some": "deletes old rows",
    "retention.note_time": "notes the time that deletion trusts",
}


def ways_past(each: Module) -> list[str]:
    """Return where a module begins a transaction, or authorizes a caller for one, without `execute`."""
    if each.room == "storage" or each.path == EXECUTE:
        return []
    calls = {id(node.func): node for node in ast.walk(each.tree) if isinstance(node, ast.Call)}
    found = []
    for node in ast.walk(each.tree):
        if isinstance(node, ast.alias) and node.name == "refreshed":
            found.append("import of refreshed")
        if not isinstance(node, ast.Attribute):
            continue
        call = calls.get(id(node))
        past = (
            node.attr == "refreshed"
            or (node.attr == "write" and ast.unparse(node.value) not in NO_STORES)
            or (node.attr == "write_on" and (call is None or _work(call) not in WITHOUT_CALLER))
        )
        if past:
            found.append(ast.unparse(call or node))
    return found


def _work(call: ast.Call) -> str:
    """Return the operation that `write_on` runs."""
    return ast.unparse(call.args[1]) if len(call.args) > 1 else ""


def test_writes_on_behalf_of_a_caller_go_through_execute() -> None:
    """P1 breaks: a caller whose credential was just revoked still changes data."""
    assert {each.path: found for each in modules() if (found := ways_past(each))} == {}


def test_what_needs_no_caller_takes_none() -> None:
    """P1 breaks: an operation with a caller runs in a transaction that does not authorize the caller."""
    functions = {
        f"{each.name.rpartition('.')[2]}.{node.name}": node
        for each in modules()
        if each.room in ("services", "storage")
        for node in each.tree.body
        if isinstance(node, ast.FunctionDef)
    }
    for name in WITHOUT_CALLER:
        assert "Caller" not in ast.unparse(functions[name].args), name
    text = "".join(each.text for each in modules())
    assert all(name in text for name in WITHOUT_CALLER), "an exception outlives what it was made for"


@pytest.mark.parametrize(
    "text",
    [
        "store.write(credentials.revoke, caller, key)",
        "visit.wiring.store.write(own_account.withdraw, visitor.caller, grant)",
        "begin = self._database.write",
        "store.write_on((), credentials.revoke, caller, key)",
        "store.write_on(places, lambda tx: credentials.revoke(tx, caller, key))",
        "begin = store.write_on",
        "caller = callers.refreshed(tx, caller)",
        "from ostiary.services.callers import refreshed",
    ],
)
def test_this_rule_sees_a_way_past(text: str) -> None:
    """P1 breaks unseen: the rule about writes no longer detects a violation."""
    assert ways_past(module("console/x.py", text))
