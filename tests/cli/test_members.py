"""CLI: an administrator invites people and says what they may do with `ostiary member …` and `ostiary invitation …`."""

import itertools
import json
from typing import Any

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full

_numbers = itertools.count(1)


def _show(service: Ostiary, member: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(service.command("member", "show", member, "--json").stdout)
    return found


def _invite(service: Ostiary, *roles: str) -> tuple[str, dict[str, Any]]:
    """A new email address, and the response to its invitation."""
    email = f"bob-{next(_numbers)}@acme.test"
    options = [part for role in roles for part in ("--role", role)]
    done = service.command("member", "invite", email, *options, "--json")
    return email, json.loads(done.stdout)


@pytest.mark.promise("P7")
def test_an_invitation_shows_its_token_once(service: Ostiary) -> None:
    """P7 breaks: the token is not alone on standard output, or a list shows it again."""
    service.command("project", "create", "--name", "Invited", "--code", "invited")
    roles = ("--role", "viewer", "--role", "developer@invited")
    done = service.command("member", "invite", "bob@acme.test", *roles)
    token = done.stdout.strip()
    assert "/invitations/accept?invitation=invite-" in token
    assert "anyone with this link can join as bob@acme.test until " in done.stderr
    assert token[-12:] not in done.stderr
    listed = service.command("invitation", "list").stdout
    assert token[-12:] not in listed
    line = next(line for line in listed.splitlines() if "bob@acme.test" in line)
    assert line.split()[1:5] == ["bob@acme.test", "open", "viewer,", "developer@invited"]


@pytest.mark.promise("P7")
def test_a_link_for_a_forgotten_password_is_shown_once(service: Ostiary) -> None:
    """P7 breaks: standard output has more than the link, or no message says whose password it sets."""
    email = service.first["admin"]["email"]
    done = service.command("member", "reset-password", email)
    assert "/password/reset?reset=reset_" in done.stdout
    assert done.stdout.strip()[-12:] not in done.stderr
    assert f"can set the password of {email}, once, until" in done.stderr
    made = json.loads(service.command("member", "reset-password", email, "--json").stdout)
    assert set(made) == {"link", "expires_at"}


def test_an_invitation_is_withdrawn(service: Ostiary) -> None:
    """CLI breaks: an invitation that was deleted is still there."""
    email, made = _invite(service, "viewer")
    number = made["invitation"]["id"]
    assert service.command("invitation", "delete", "--yes", number).stdout == f"{number} is withdrawn.\n"
    assert email not in service.command("invitation", "list").stdout
    done = service.command("invitation", "delete", "--yes", number, code=1)
    assert "`ostiary invitation list` shows" in done.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("nobody", "EMAIL must be an email address"),
        ("x@acme.test --role vewer", "ROLE is not a role of this organization\n`ostiary role list` shows"),
    ],
)
def test_a_wrong_invitation_is_wrong_use(service: Ostiary, arguments: str, said: str) -> None:
    """CLI breaks: an error uses the API's field names instead of the command's."""
    assert said in service.command("member", "invite", *arguments.split(), code=2).stderr


def test_a_member_is_found_by_id_and_by_email(service: Ostiary) -> None:
    """CLI breaks: MEMBER does not take an address, or an unknown one gives no next step."""
    alice = service.first["admin"]
    assert _show(service, alice["email"]) == _show(service, alice["id"])
    listed = [line.split()[:3] for line in service.command("member", "list").stdout.splitlines()]
    assert [alice["id"], alice["email"], "active"] in listed
    for unknown in ("nobody@acme.test", "usr_nobody", "bob"):
        done = service.command("member", "show", unknown, code=1)
        assert "`ostiary member list` shows" in done.stderr


def test_roles_are_given_and_taken_and_the_others_stay(service: Ostiary) -> None:
    """CLI breaks: `grant` and `ungrant` change more than they name."""
    email = service.first["admin"]["email"]
    code = json.loads(service.command("project", "create", "--name", "Given", "--json").stdout)["code"]
    given = service.command("member", "grant", email, "viewer", f"developer@{code}")
    told = given.stdout.removeprefix(f"{email} has ").removesuffix(".\n").split(", ")
    assert {"organization-admin", "viewer", f"developer@{code}"} <= set(told)
    assert f"developer@{code}" in service.command("member", "show", email).stdout
    wrong = service.command("member", "ungrant", email, "viewer", "developer", code=1)
    assert f"{email} does not have developer." in wrong.stderr
    assert f"developer@{code}" in wrong.stderr
    service.command("member", "ungrant", email, "viewer", f"developer@{code}")
    held = service.command("member", "show", email).stdout
    assert "organization-admin" in held
    assert f"developer@{code}" not in held


def test_the_last_admin_stays(service: Ostiary) -> None:
    """CLI breaks: a command leaves the organization without an admin."""
    email = service.first["admin"]["email"]
    for arguments in (("ungrant", email, "organization-admin"), ("remove", "--yes", email)):
        done = service.command("member", *arguments, code=1)
        assert "last admin" in done.stderr
    assert _show(service, email)["status"] == "active"


def test_whoever_may_not_is_refused(service: Ostiary, bob: str) -> None:
    """P19 breaks: a viewer invites or lists members."""
    service.command("member", "list", code=4, OSTIARY_API_KEY=bob)
    service.command("member", "invite", "eve@acme.test", "--role", "viewer", code=4, OSTIARY_API_KEY=bob)
    service.command("invitation", "list", code=4, OSTIARY_API_KEY=bob)
