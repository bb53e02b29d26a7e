"""CLI: an administrator manages projects and the roles on them with `ostiary project …`."""

import itertools
import json
from typing import Any

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full

_numbers = itertools.count(1)


@pytest.fixture
def website(service: Ostiary) -> str:
    """The code of a new project for each test."""
    name = f"Website no. {next(_numbers)}"
    done = service.command("project", "create", "--name", name, "--description", "For all", "--json")
    return str(json.loads(done.stdout)["code"])


def _roles(service: Ostiary, project: str) -> list[tuple[str, str]]:
    listed = json.loads(service.command("project", "roles", project, "--json").stdout)
    return [(each["principal"], each["role"]) for each in listed]


def test_a_project_is_made_shown_changed_listed_and_deleted(service: Ostiary) -> None:
    """CLI breaks: what `create` made is not what the others find, by code as by id."""
    done = service.command("project", "create", "--name", "Alpha", "--code", "alpha-1")
    assert done.stdout.startswith("Alpha is created: alpha-1, prj_")
    assert "Next: ostiary project grant alpha-1" in done.stderr
    found = json.loads(service.command("project", "show", "alpha-1", "--json").stdout)
    changed = service.command("project", "update", found["id"], "--name", "Beta", "--description", "")
    assert changed.stdout == "alpha-1 is changed: name, description.\n"
    listed = service.command("project", "list").stdout.splitlines()
    assert any(line.split()[:3] == [found["id"], "alpha-1", "Beta"] for line in listed)
    assert "Nothing to change" in service.command("project", "update", "alpha-1", code=2).stderr
    assert json.loads(service.command("project", "delete", "--yes", "alpha-1", "--json").stdout) == {
        "deleted": "alpha-1"
    }
    done = service.command("project", "show", "alpha-1", code=1)
    assert "`ostiary project list` shows" in done.stderr


@pytest.mark.promise("P2")
def test_deleting_a_project_ends_the_keys_that_are_bound_to_it(
    service: Ostiary, website: str, robo: dict[str, Any]
) -> None:
    """P2 breaks: a key that is bound to a project is accepted after the project's deletion."""
    made = service.command("api-key", "generate", "--service-account", robo["id"], "--project", website)
    service.command("whoami", OSTIARY_API_KEY=made.stdout.strip())
    assert "are revoked" in service.command("project", "delete", "--yes", website).stdout
    service.command("whoami", code=4, OSTIARY_API_KEY=made.stdout.strip())


@pytest.mark.parametrize("form", ["id", "username", "client_id", "channel_identifier"])
def test_a_role_is_given_and_taken_by_any_name(
    service: Ostiary, website: str, robo: dict[str, Any], form: str
) -> None:
    """CLI breaks: a role on a project goes to another principal, or removes others' roles."""
    alice = service.first["admin"]
    service.command("project", "grant", website, alice["email"], "developer")
    given = service.command("project", "grant", website, robo[form], "viewer", "resource-server")
    assert given.stdout == f"{robo['username']} has resource-server, viewer on {website}.\n"
    service.command("project", "grant", website, robo[form], "viewer")
    assert sorted(_roles(service, website)) == sorted(
        [(alice["id"], "developer"), (robo["id"], "viewer"), (robo["id"], "resource-server")]
    )
    shown = [line.split() for line in service.command("project", "roles", website).stdout.splitlines()]
    assert shown[0] == ["PRINCIPAL", "NAME", "ROLE"]
    assert [alice["id"], alice["email"], "developer"] in shown
    assert [robo["id"], robo["username"], "viewer"] in shown
    service.command("project", "ungrant", website, robo[form], "viewer", "resource-server")
    service.command("project", "ungrant", website, alice["id"], "developer")
    assert _roles(service, website) == []
    empty = service.command("project", "roles", website)
    assert f"ostiary project grant {website} PRINCIPAL" in empty.stderr


def test_a_role_that_is_not_there_cannot_be_taken(
    service: Ostiary, website: str, robo: dict[str, Any]
) -> None:
    """CLI breaks: a mistyped `ungrant` reports success, or removes only some of the roles."""
    service.command("project", "grant", website, robo["id"], "viewer")
    done = service.command("project", "ungrant", website, robo["id"], "viewer", "developer", code=1)
    assert f"does not have developer on {website}, but viewer" in done.stderr
    assert _roles(service, website) == [(robo["id"], "viewer")]


@pytest.mark.promise("P19")
def test_an_email_is_never_taken_for_a_machine(service: Ostiary, website: str, robo: dict[str, Any]) -> None:
    """P19 breaks: a role for a person goes to the service account with the username before the @ of their email."""
    slug = robo["channel_identifier"].partition("@")[2].partition(".")[0]
    done = service.command("project", "grant", website, f"{robo['username']}@{slug}.test", "viewer", code=1)
    assert "There is no member and no service account" in done.stderr
    assert _roles(service, website) == []


@pytest.mark.parametrize(
    "principal, role, code, said",
    [
        ("nobody", "viewer", 1, "`ostiary service-account list` shows"),
        ("usr_nobody", "viewer", 1, "`ostiary member list` shows"),
        ("nobody@nowhere.test", "viewer", 1, "`ostiary member list` and"),
        ("", "viewer", 1, "There is no service account ''"),
        (None, "vewer", 2, "ROLE is not a role of this organization\n`ostiary role list` shows"),
    ],
)
def test_whom_or_what_nobody_knows_says_where_to_look(
    service: Ostiary,
    website: str,
    robo: dict[str, Any],
    principal: str | None,
    role: str,
    code: int,
    said: str,
) -> None:
    """CLI breaks: an unknown name has another exit code, or no next step."""
    who = robo["id"] if principal is None else principal
    assert said in service.command("project", "grant", website, who, role, code=code).stderr


def test_who_may_not_read_names_still_gives_roles(
    service: Ostiary, website: str, robo: dict[str, Any]
) -> None:
    """CLI breaks: whoever manages projects but not members cannot see who has a role."""
    service.command("project", "grant", website, service.first["admin"]["email"], "viewer")
    narrow = service.command("api-key", "generate", "--scope", "read:projects").stdout.strip()
    shown = service.command("project", "roles", website, OSTIARY_API_KEY=narrow).stdout
    assert shown.splitlines()[1].split() == [service.first["admin"]["id"], "viewer"]
    service.command("project", "grant", website, robo["id"], "viewer", code=4, OSTIARY_API_KEY=narrow)
