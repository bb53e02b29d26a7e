"""CLI: a person lists and ends credentials with `ostiary credential …`."""

import json
from typing import Any

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full


def test_the_list_shows_what_a_person_looks_for(
    service: Ostiary, robo: dict[str, Any], key: tuple[str, str]
) -> None:
    """P7, CLI break: the list cuts an id, leaves out a documented column, or shows a secret."""
    listed = service.command("credential", "list", "--service-account", robo["username"]).stdout
    header, line = listed.splitlines()
    assert header.split("  ")[0] == "ID"
    for column in ("NAME", "KEY", "STATUS", "OWNER", "LAST USED", "EXPIRES", "CREATED"):
        assert column in header
    assert line.startswith(f"{key[0]} ")
    assert f"…{key[1][-6:]}" in line
    assert key[1][-12:] not in listed


def test_show_tells_what_it_is_and_never_the_secret(service: Ostiary, key: tuple[str, str]) -> None:
    """P7 breaks: `show` prints a secret, or not what the credential is."""
    shown = service.command("credential", "show", key[0]).stdout
    lines = dict(line.split(":", 1) for line in shown.splitlines())
    assert lines["ID"].strip() == key[0]
    assert lines["Status"].strip() == "active"
    assert lines["Allowed IPs"].strip() == "all"
    assert key[1][-12:] not in shown


@pytest.mark.promise("P1")
def test_deactivate_activate_and_revoke_act_when_the_command_has_ended(
    service: Ostiary, key: tuple[str, str]
) -> None:
    """P1 breaks: a deactivated or revoked key is accepted after the command has ended."""
    for verb, code, state in (
        ("deactivate", 4, "deactivated"),
        ("activate", 0, "active"),
        ("revoke --yes", 4, "revoked"),
        ("revoke --yes", 4, "revoked"),
    ):
        assert service.command("credential", *verb.split(), key[0]).stdout.endswith(f"is {state}.\n")
        service.command("whoami", code=code, OSTIARY_API_KEY=key[1])
        assert json.loads(service.command("credential", "show", key[0], "--json").stdout)["status"] == state
    done = service.command("credential", "activate", key[0], code=1)
    assert "final" in done.stderr


@pytest.mark.promise("P1")
def test_an_update_limits_a_key_when_the_command_has_ended(service: Ostiary, key: tuple[str, str]) -> None:
    """P1 breaks: a key does more than its update allows, or `update` changes what was not named."""
    update = ("credential", "update", key[0])
    before = json.loads(service.command("credential", "show", key[0], "--json").stdout)
    limits = ("--ip", "203.0.113.0/24", "--scope", "read:agents", "--resource", "agents/*")
    named = ("--name", "build", "--description", "CI", "--expires", "2099-01-31T00:00:00Z")
    changed = json.loads(service.command(*update, *limits, *named, "--json").stdout)
    assert changed == before | {
        "name": "build",
        "description": "CI",
        "expires_at": "2099-01-31T00:00:00.000Z",
        "allowed_ips": ["203.0.113.0/24"],
        "access_level": "fine_grained",
        "scopes": ["read:agents"],
        "resources": ["agents/*"],
    }
    service.command("whoami", code=4, OSTIARY_API_KEY=key[1])
    taken = (
        "--ip",
        "",
        "--resource",
        "",
        "--access-level",
        "full",
        "--expires",
        "never",
        "--description",
        "",
    )
    open_again = json.loads(service.command(*update, *taken, "--name", before["name"], "--json").stdout)
    service.command("whoami", OSTIARY_API_KEY=key[1])
    assert open_again == before
    assert "Nothing to change" in service.command(*update, code=2).stderr


def test_a_revoked_one_is_deleted_after_its_delay_only(service: Ostiary, key: tuple[str, str]) -> None:
    """B8 breaks: deleting too early is not exit 1 with what to do and when."""
    assert (
        "Revoke the credential first"
        in service.command("credential", "delete", "--yes", key[0], code=1).stderr
    )
    service.command("credential", "revoke", "--yes", key[0])
    done = service.command("credential", "delete", "--yes", key[0], code=1)
    revoked_at = json.loads(service.command("credential", "show", key[0], "--json").stdout)["revoked_at"]
    assert "It can be deleted from" in done.stderr
    assert revoked_at[11:23] in done.stderr


@pytest.mark.parametrize("verb", ["show", "update", "deactivate", "activate", "revoke --yes", "delete --yes"])
def test_an_unknown_id_says_where_to_look(service: Ostiary, verb: str) -> None:
    """CLI breaks: an unknown id is not exit 1 with the command that lists them."""
    options = ["--name", "x"] if verb == "update" else []
    done = service.command("credential", *verb.split(), "cred_nobody", *options, code=1)
    assert "no such credential" in done.stderr
    assert "`ostiary credential list` shows" in done.stderr


def test_the_list_is_narrowed_by_status(service: Ostiary, robo: dict[str, Any], key: tuple[str, str]) -> None:
    """CLI breaks: `--status` shows others, or an empty list is an error."""
    of_robo = ("credential", "list", "--service-account", robo["id"], "--status")
    assert key[0] in service.command(*of_robo, "active").stdout
    empty = service.command(*of_robo, "revoked")
    assert (empty.stdout, empty.stderr) == ("", "No credentials match.\n")
    assert json.loads(service.command(*of_robo, "revoked", "--json").stdout) == []


def test_whoever_may_only_look_cannot_revoke(service: Ostiary, key: tuple[str, str], bob: str) -> None:
    """P19 breaks: a viewer ends somebody's key from the command line."""
    service.command("credential", "revoke", "--yes", key[0], code=4, OSTIARY_API_KEY=bob)
    service.command("whoami", OSTIARY_API_KEY=key[1])


@pytest.mark.parametrize("command", ["revoke", "delete", "rotation complete", "rotation cancel"])
def test_without_a_terminal_what_cannot_be_undone_needs_yes(
    service: Ostiary, key: tuple[str, str], command: str
) -> None:
    """CLI breaks: a script whose variable holds the wrong id ends a key that nobody confirmed."""
    done = service.command("credential", *command.split(), key[0], code=2)
    assert (done.stdout, "needs --yes" in done.stderr) == ("", True)
    service.command("whoami", OSTIARY_API_KEY=key[1])


def test_a_credential_goes_by_its_last_six_or_its_name(
    service: Ostiary, robo: dict[str, Any], key: tuple[str, str]
) -> None:
    """CLI breaks: six characters from a log do not find the key, or find another one."""
    name = f"only {robo['username']}"
    service.command("credential", "update", key[0], "--name", name)
    for text in (key[0], key[1][-6:], name):
        assert json.loads(service.command("credential", "show", text, "--json").stdout)["id"] == key[0]
    for text in (name[:-1], key[1][-5:], "x" * 254):
        assert "no such credential" in service.command("credential", "show", text, code=1).stderr
    assert '"refused"' in service.command("usage", "--credential", name, "--json").stdout
    second = json.loads(
        service.command(
            "api-key", "generate", "--service-account", robo["id"], "--name", name, "--json"
        ).stdout
    )["credential"]["id"]
    done = service.command("credential", "revoke", "--yes", name, code=2)
    assert "matches 2 credentials" in done.stderr
    for identifier in (key[0], second):
        assert f"  {identifier}  active  {name} (" in done.stderr


def test_several_are_revoked_and_one_failure_stops_none(
    service: Ostiary, robo: dict[str, Any], key: tuple[str, str]
) -> None:
    """P1 breaks: one mistyped id leaves the following keys active."""
    made = json.loads(
        service.command("api-key", "generate", "--service-account", robo["id"], "--json").stdout
    )
    second = made["credential"]["id"]
    names = ("cred_nobody", key[0], key[1][-6:], f"cred_{'0' * 26}", second)
    done = service.command("credential", "revoke", "--yes", *names, code=1)
    assert done.stdout.count("is revoked.\n") == 2
    assert "Error: cred_nobody: There is no such credential" in done.stderr
    assert f"Error: cred_{'0' * 26}: Not Found" in done.stderr
    for secret in (key[1], made["secret"]):
        service.command("whoami", code=4, OSTIARY_API_KEY=secret)
    again = service.command("credential", "revoke", "--yes", "--json", key[0], second)
    assert [each["status"] for each in json.loads(again.stdout)] == ["revoked", "revoked"]


def test_the_list_is_searched_and_sorted(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: the filters do not find unused keys, or those that expire soon."""
    ids = {}
    for name, expires in (("beta", "2099-01-01"), ("Alpha", "2098-01-01"), ("gamma", None)):
        options = () if expires is None else ("--expires", expires)
        made = service.command(
            "api-key", "generate", "--service-account", robo["id"], "--name", name, *options, "--json"
        )
        ids[json.loads(made.stdout)["credential"]["id"]] = name
        if name == "beta":
            service.command("whoami", OSTIARY_API_KEY=json.loads(made.stdout)["secret"])

    def listed(*options: str) -> list[str]:
        found = service.command("credential", "list", "--service-account", robo["id"], *options, "--json")
        return [ids[each["id"]] for each in json.loads(found.stdout)]

    assert listed() == ["gamma", "Alpha", "beta"]
    assert listed("--sort", "name") == ["Alpha", "beta", "gamma"]
    assert listed("--sort", "expires") == ["Alpha", "beta", "gamma"]
    assert listed("--search", "alph") == ["Alpha"]
    assert listed("--expires-before", "2098-06-01") == ["Alpha"]
    assert listed("--unused-since", "1h") == []
    assert listed("--unused-since", "2099-01-01", "--sort", "name") == ["Alpha", "beta", "gamma"]
