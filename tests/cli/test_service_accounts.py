"""CLI: a person creates and manages service accounts with `ostiary service-account …`."""

import json
from pathlib import Path
from typing import Any

import pytest

from ostiary.client.api import Client
from tests.servers import Ostiary

pytestmark = pytest.mark.full


def _show(service: Ostiary, account: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(service.command("service-account", "show", account, "--json").stdout)
    return found


def test_create_prints_the_ids_and_says_what_comes_next(service: Ostiary) -> None:
    """CLI breaks: `create` does not print the lines of the fifth document."""
    done = service.command("service-account", "create", "--name", "Integration bot", "--role", "developer")
    lines = dict(line.split(": ") for line in done.stdout.splitlines())
    assert list(lines) == ["Service Account ID", "Client ID", "Client Secret", "Username"]
    made = _show(service, lines["Service Account ID"])
    assert [made["client_id"], made["username"]] == [lines["Client ID"], lines["Username"]]
    assert lines["Client Secret"].startswith("secret_")
    assert "not shown again" in done.stderr
    assert lines["Client Secret"] not in done.stderr


def test_create_without_a_credential_says_what_comes_next(service: Ostiary) -> None:
    """CLI breaks: `--credential none` creates one, or the output does not say how to create one."""
    done = service.command("service-account", "create", "--name", "Bare bot", "--credential", "none")
    lines = dict(line.split(": ") for line in done.stdout.splitlines())
    assert list(lines) == ["Service Account ID", "Client ID", "Username"]
    assert _show(service, lines["Username"])["credentials"] == 0
    assert "Next: ostiary api-key generate --service-account bare-bot" in done.stderr


def test_create_with_a_key_file_writes_it(service: Ostiary, tmp_path: Path) -> None:
    """P7, CLI break: the key of a new account is shown, or its file is missing, or a file in the way makes an account."""
    out = tmp_path / "bot.json"
    options = ["service-account", "create", "--name", "Filed", "--credential", "key-file", "--out", str(out)]
    lines = dict(line.split(": ") for line in service.command(*options).stdout.splitlines())
    assert list(lines) == ["Service Account ID", "Client ID", "Key File", "Key ID", "Username"]
    assert json.loads(out.read_text())["key_id"] == lines["Key ID"]
    before = service.command("service-account", "list", "--json").stdout
    assert "exists" in service.command(*options, code=2).stderr
    for wrong, said in (
        (["--credential", "key-file"], "--credential key-file needs --out FILE."),
        (["--out", str(tmp_path / "x")], "--out is for --credential key-file only."),
        (["--credential", "key-file", "--out", "-"], "A key file is never printed"),
    ):
        done = service.command("service-account", "create", "--name", "Filed", *wrong, code=2)
        assert said in done.stderr
    assert service.command("service-account", "list", "--json").stdout == before


def test_create_with_a_key_shows_it_once(service: Ostiary) -> None:
    """CLI breaks: the key that was asked for with the account is not shown, not limited, or does not work."""
    done = service.command(
        "service-account", "create", "--name", "Keyed", "--credential", "api-key", "--ip", "127.0.0.0/8",
        "--expires", "90d",
    )  # fmt: skip
    lines = dict(line.split(": ") for line in done.stdout.splitlines())
    assert list(lines) == ["Service Account ID", "Client ID", "API Key", "Username"]
    assert "not shown again" in done.stderr
    whoami = json.loads(service.command("whoami", "--json", OSTIARY_API_KEY=lines["API Key"]).stdout)
    assert whoami["principal"]["id"] == lines["Service Account ID"]
    assert whoami["credential"]["expires_at"] is not None


@pytest.mark.parametrize("form", ["id", "username", "client_id", "channel_identifier"])
def test_an_account_is_found_by_each_of_its_names(service: Ostiary, robo: dict[str, Any], form: str) -> None:
    """CLI breaks: ACCOUNT does not take an id, a username, a client id or a channel identifier."""
    assert _show(service, robo[form])["id"] == robo["id"]


@pytest.mark.parametrize("username", ["ostiary-sa-deploy", "sa-deploy"])
def test_a_username_that_looks_like_an_id_is_a_username(service: Ostiary, username: str) -> None:
    """CLI breaks: an account whose username begins like an id cannot be named by its username."""
    service.command("service-account", "create", "--name", "Deploy", "--username", username)
    assert _show(service, username)["username"] == username


@pytest.mark.parametrize("name", ["nobody", "sa_nobody", "a" * 65, "nobody@acme.localhost", "sa_" + "0" * 26])
def test_an_unknown_account_says_where_to_look(service: Ostiary, name: str) -> None:
    """CLI breaks: an account that does not exist is not exit 1 with the command that lists them."""
    done = service.command("service-account", "show", name, code=1)
    assert "`ostiary service-account list` shows" in done.stderr
    assert done.stdout == ""


def test_every_wrong_option_is_named_as_it_was_given(service: Ostiary) -> None:
    """CLI breaks: a refusal uses the API's field names, shows one error at a time, or does not exit with 2."""
    done = service.command(
        "service-account", "create", "--name", " ", "--username", "A B", "--email", "x", code=2
    )
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["--name", "--username", "--email"]


def test_a_limit_on_nothing_is_wrong_use(service: Ostiary) -> None:
    """CLI breaks: `--ip` without a credential is accepted without effect."""
    done = service.command(
        "service-account", "create", "--name", "X", "--ip", "10.0.0.0/8", "--credential", "none", code=2
    )
    assert "cannot be used with --credential none" in done.stderr


def test_roles_are_replaced_and_taken_away(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: `set-roles` does not leave exactly the roles that it names."""
    for roles in (["viewer", "resource-server"], []):
        options = [part for role in roles for part in ("--role", role)]
        service.command("service-account", "set-roles", robo["username"], *options, "--yes")
        assert sorted(each["role"] for each in _show(service, robo["id"])["roles"]) == sorted(roles)


def test_roles_are_given_and_taken_one_by_one(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: `grant` or `ungrant` changes more than it names, or takes a role on one project for all of them."""
    name = robo["username"]
    code = json.loads(service.command("project", "create", "--name", "Granted", "--json").stdout)["code"]
    given = service.command("service-account", "grant", name, "viewer", f"viewer@{code}")
    assert given.stdout == f"{name} has developer, viewer, viewer@{code}.\n"
    shown = [line.split() for line in service.command("service-account", "roles", name).stdout.splitlines()]
    assert shown[1:] == [
        ["developer", "organization"],
        ["viewer", "organization"],
        ["viewer", "project", code],
    ]
    service.command("service-account", "ungrant", name, "viewer")
    listed = json.loads(service.command("service-account", "roles", name, "--json").stdout)
    assert [(each["role"], each["on"][:4]) for each in listed] == [("developer", "org_"), ("viewer", "prj_")]
    wrong = service.command("service-account", "ungrant", name, "viewer", code=1)
    assert f"{name} does not have viewer. {name} has developer, viewer@{code}." in wrong.stderr
    service.command("service-account", "ungrant", name, "developer", f"viewer@{listed[1]['on']}")
    empty = service.command("service-account", "roles", name)
    assert f"ostiary service-account grant {name} developer" in empty.stderr


def test_two_who_give_a_role_at_once_both_succeed(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: a role that another administrator gives at the same moment is lost, or the command fails."""
    address = f"/v1/service-accounts/{robo['id']}/role-bindings"
    others = iter(["viewer", "resource-server"])

    def give(before: Any, role: str) -> dict[str, Any]:
        return {"bindings": [*before["bindings"], {"role": role}]}

    def edit(before: Any) -> dict[str, Any]:
        for other in others:  # another change comes in between, twice
            service.call("PUT", address, give(before, other))
            break
        return give(before, "organization-admin")

    after = Client(service.url, service.key).change(address, "PUT", edit)
    held = {each["role"] for each in after["bindings"]}
    assert held == {"developer", "viewer", "resource-server", "organization-admin"}


def test_an_update_changes_what_it_names(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: `update` changes what was not named, or cannot take something away."""
    update = ("service-account", "update", robo["username"])
    given = ("--description", "Builds", "--email", "ops@acme.test", "--scope", "read:agents")
    first = json.loads(service.command(*update, *given, "--resource", "agents/*", "--json").stdout)
    assert first == robo | {
        "description": "Builds",
        "contact_email": "ops@acme.test",
        "access_level": "fine_grained",
        "scopes": ["read:agents"],
        "resources": ["agents/*"],
    }
    taken = ("--description", "", "--email", "", "--access-level", "full", "--resource", "")
    assert json.loads(service.command(*update, *taken, "--json").stdout) == robo
    assert "Nothing to change" in service.command(*update, code=2).stderr
    assert "--email must be an email" in service.command(*update, "--email", "x", code=2).stderr


def test_disable_enable_and_delete_act_on_its_keys_at_once(
    service: Ostiary, robo: dict[str, Any], key: tuple[str, str]
) -> None:
    """P2 breaks: a key of a disabled or deleted account is accepted after the command has ended."""
    name = robo["username"]
    for verb, code, said in (
        ("disable", 4, "is disabled."),
        ("enable", 0, "is enabled."),
        ("delete", 4, "Its credentials are revoked"),
    ):
        yes = ("--yes",) if verb == "delete" else ()
        assert said in service.command("service-account", verb, name, *yes).stdout
        service.command("whoami", code=code, OSTIARY_API_KEY=key[1])
    service.command("service-account", "show", name, code=1)


def test_the_list_shows_ids_whole_and_json_all_of_it(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: the list cuts an id, or `--json` differs from the API."""
    listed = service.command("service-account", "list").stdout
    assert listed.splitlines()[0].split() == [
        "ID", "USERNAME", "STATUS", "NAME", "CONTACT", "ROLES", "CREDENTIALS", "CREATED",
    ]  # fmt: skip
    assert any(line.split()[:3] == [robo["id"], robo["username"], "enabled"] for line in listed.splitlines())
    assert robo in json.loads(service.command("service-account", "list", "--json").stdout)


def test_whoever_may_not_is_refused(service: Ostiary, bob: str) -> None:
    """CLI breaks: a refusal for lack of permission does not exit with 4 and the missing scope."""
    done = service.command("service-account", "create", "--name", "X", code=4, OSTIARY_API_KEY=bob)
    assert "write:service-accounts" in done.stderr
    assert "`ostiary whoami`" in done.stderr


def test_roles_have_the_same_form_everywhere(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: who made an account with --role cannot give it another one in the same form."""
    grant = ("service-account", "grant", robo["username"])
    service.command(*grant, "resource-server", "--role", "viewer")
    assert {each["role"] for each in _show(service, robo["id"])["roles"]} >= {"viewer", "resource-server"}
    service.command("service-account", "ungrant", robo["username"], "--role", "viewer")
    assert "viewer" not in {each["role"] for each in _show(service, robo["id"])["roles"]}
    assert "Missing argument 'ROLE[@PROJECT]...'" in service.command(*grant, code=2).stderr
