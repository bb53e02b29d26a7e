"""CLI: an administrator manages roles with `ostiary role …`, the operator scopes with `ostiary scope …`."""

import itertools
import json
from typing import Any

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full

_numbers = itertools.count(1)


@pytest.fixture
def reader(service: Ostiary) -> str:
    """A new role for each test."""
    name = f"reader-{next(_numbers)}"
    scopes = ("--scope", "read:agents", "--scope", "read:plugins")
    done = service.command("role", "create", name, "--description", "Reads", *scopes)
    assert done.stdout == f"{name} grants read:agents, read:plugins.\n"
    assert f"Next: ostiary service-account grant ACCOUNT {name}" in done.stderr
    return name


def _scopes(service: Ostiary, role: str) -> Any:
    return json.loads(service.command("role", "show", role, "--json").stdout)["scopes"]


def test_the_list_has_the_built_in_and_the_own(service: Ostiary, reader: str) -> None:
    """CLI breaks: a role is missing from the list, or the list does not say which roles can be changed."""
    lines = [line.split() for line in service.command("role", "list").stdout.splitlines()]
    assert lines[0] == ["NAME", "KIND", "DESCRIPTION", "SCOPES"]
    assert lines[1][:2] == ["organization-admin", "built-in"]
    assert [reader, "own", "Reads", "read:agents,", "read:plugins"] in lines


@pytest.mark.promise("P2")
def test_a_changed_role_holds_when_the_command_has_ended(
    service: Ostiary, reader: str, robo: dict[str, Any], key: tuple[str, str]
) -> None:
    """P2 breaks: a key keeps what its role granted before the role was changed or deleted."""

    def scopes() -> Any:
        return json.loads(service.command("whoami", "--json", OSTIARY_API_KEY=key[1]).stdout)["scopes"]

    service.command("service-account", "set-roles", robo["id"], "--role", reader)
    assert scopes() == ["read:agents", "read:plugins"]
    service.command("role", "update", reader, "--add-scope", "write:agents", "--remove-scope", "read:agents")
    assert scopes() == ["read:plugins", "write:agents"]
    service.command("role", "update", reader, "--scope", "read:agents")
    assert scopes() == ["read:agents"]
    assert "Nobody has it any more" in service.command("role", "delete", "--yes", reader).stdout
    assert scopes() == []


def test_what_is_not_named_stays(service: Ostiary, reader: str) -> None:
    """CLI breaks: a change of the description removes scopes, or an empty value does not."""
    service.command("role", "update", reader, "--description", "All")
    assert _scopes(service, reader) == ["read:agents", "read:plugins"]
    service.command("role", "update", reader, "--scope", "")
    found = json.loads(service.command("role", "show", reader, "--json").stdout)
    assert (found["description"], found["scopes"]) == ("All", [])


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        ("show nobody", 1, "`ostiary role list` shows"),
        ("create Reader!", 2, "NAME must be 2 to 63"),
        ("create viewer", 1, "A role with this name exists already"),
        ("create x1 --scope read:nothing", 2, "`ostiary scope list` and"),
        ("update viewer --scope read:agents", 1, "A built-in role cannot be changed"),
        ("update READER", 2, "Nothing to change"),
        ("update READER --remove-scope write:agents", 1, "does not grant write:agents"),
        (
            "update READER --scope read:agents --add-scope read:plugins",
            2,
            "cannot be combined with --add-scope",
        ),
        ("delete --yes viewer", 1, "A built-in role cannot be changed"),
    ],
)
def test_what_cannot_be_done_says_why(
    service: Ostiary, reader: str, arguments: str, code: int, said: str
) -> None:
    """CLI breaks: a refusal has another exit code, or does not name the option or the next step."""
    given = arguments.replace("READER", reader).split()
    assert said in service.command("role", *given, code=code).stderr
    assert _scopes(service, reader) == ["read:agents", "read:plugins"]


def test_scopes_come_and_go(service: Ostiary) -> None:
    """CLI breaks: a scope cannot be added or removed, or the error does not say why."""
    assert (
        service.command("scope", "create", "read:invoices").stdout == "read:invoices is in the catalogue.\n"
    )
    assert "read:invoices" in service.command("scope", "list").stdout.splitlines()
    for scope, code, said in (
        ("read:invoices", 1, "in the catalogue already"),
        ("read:members", 2, "SCOPE uses a noun that is reserved for this API"),
        ("invoices", 2, "SCOPE must have the form verb:noun"),
    ):
        assert said in service.command("scope", "create", scope, code=code).stderr
    service.command("scope", "delete", "--yes", "read:invoices")
    done = service.command("scope", "delete", "--yes", "read:invoices", code=1)
    assert "`ostiary scope list` shows" in done.stderr


def test_whoever_may_not_is_refused(service: Ostiary, reader: str, bob: str) -> None:
    """P19 breaks: a viewer makes a role or a scope."""
    for arguments in (
        ("role", "create", "boss", "--scope", "write:agents"),
        ("role", "delete", "--yes", reader),
        ("scope", "create", "read:things"),
        ("scope", "delete", "--yes", "read:agents"),
    ):
        service.command(*arguments, code=4, OSTIARY_API_KEY=bob)
    service.command("scope", "list", OSTIARY_API_KEY=bob)
