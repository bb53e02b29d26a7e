"""§3: a person makes and keeps service accounts with `ostiary service-account …`."""

import json
from typing import Any

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full


def _show(service: Ostiary, account: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(service.command("service-account", "show", account, "--json").stdout)
    return found


def test_create_prints_the_ids_and_says_what_comes_next(service: Ostiary) -> None:
    """§3 breaks: the lines of the fifth document are not those that `create` prints."""
    done = service.command("service-account", "create", "--name", "Integration bot", "--role", "developer")
    lines = [line.partition(": ") for line in done.stdout.splitlines()]
    assert [name for name, _, _ in lines] == ["Service Account ID", "Client ID", "Username"]
    made = _show(service, lines[0][2])
    assert [made["client_id"], made["username"]] == [lines[1][2], lines[2][2]]
    assert "Next: ostiary api-key generate --service-account integration-bot" in done.stderr


def test_create_with_a_key_shows_it_once(service: Ostiary) -> None:
    """§3 breaks: the key that was asked for with the account is not shown, not limited, or does not work."""
    done = service.command(
        "service-account", "create", "--name", "Keyed", "--credential", "api-key", "--ip", "127.0.0.0/8",
        "--expires", "90d",
    )  # fmt: skip
    lines = dict(line.split(": ") for line in done.stdout.splitlines())
    assert list(lines) == ["Service Account ID", "Client ID", "Username", "API Key"]
    assert "not shown again" in done.stderr
    whoami = json.loads(service.command("whoami", "--json", OSTIARY_API_KEY=lines["API Key"]).stdout)
    assert whoami["principal"]["id"] == lines["Service Account ID"]
    assert whoami["credential"]["expires_at"] is not None


@pytest.mark.parametrize("form", ["id", "username", "client_id", "channel_identifier"])
def test_an_account_is_found_by_each_of_its_names(service: Ostiary, robo: dict[str, Any], form: str) -> None:
    """§3 breaks: ACCOUNT does not take an id, a username, a client id or a channel identifier."""
    assert _show(service, robo[form])["id"] == robo["id"]


@pytest.mark.parametrize("username", ["ostiary-sa-deploy", "sa-deploy"])
def test_a_username_that_looks_like_an_id_is_a_username(service: Ostiary, username: str) -> None:
    """§3 breaks: an account whose username begins like an id cannot be named by it."""
    service.command("service-account", "create", "--name", "Deploy", "--username", username)
    assert _show(service, username)["username"] == username


@pytest.mark.parametrize("name", ["nobody", "sa_nobody", "a" * 65, "nobody@acme.localhost", "sa_" + "0" * 26])
def test_an_unknown_account_says_where_to_look(service: Ostiary, name: str) -> None:
    """§2 breaks: an account that does not exist is not exit 1 with the command that lists them."""
    done = service.command("service-account", "show", name, code=1)
    assert "`ostiary service-account list` shows" in done.stderr
    assert done.stdout == ""


def test_every_wrong_option_is_named_as_it_was_given(service: Ostiary) -> None:
    """§2 breaks: what the service refuses is told in the API's words, one at a time, or is not wrong use."""
    done = service.command(
        "service-account", "create", "--name", " ", "--username", "A B", "--email", "x", code=2
    )
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["--name", "--username", "--email"]


def test_a_limit_on_nothing_is_wrong_use(service: Ostiary) -> None:
    """§2 breaks: `--ip` without a credential is taken and limits nothing."""
    done = service.command("service-account", "create", "--name", "X", "--ip", "10.0.0.0/8", code=2)
    assert "--credential api-key" in done.stderr


def test_roles_are_replaced_and_taken_away(service: Ostiary, robo: dict[str, Any]) -> None:
    """§3 breaks: `set-roles` does not leave exactly the roles that it names."""
    for roles in (["viewer", "resource-server"], []):
        options = [part for role in roles for part in ("--role", role)]
        service.command("service-account", "set-roles", robo["username"], *options)
        assert sorted(each["role"] for each in _show(service, robo["id"])["roles"]) == sorted(roles)


def test_disable_enable_and_delete_act_on_its_keys_at_once(
    service: Ostiary, robo: dict[str, Any], key: tuple[str, str]
) -> None:
    """P2 breaks: a key of a disabled or deleted account is accepted after the command has ended."""
    name = robo["username"]
    for verb, code, said in (
        ("disable", 4, "is disabled."),
        ("enable", 0, "is enabled."),
        ("delete", 4, "its credentials are revoked"),
    ):
        assert said in service.command("service-account", verb, name).stdout
        service.command("whoami", code=code, OSTIARY_API_KEY=key[1])
    service.command("service-account", "show", name, code=1)


def test_the_list_shows_ids_whole_and_json_all_of_it(service: Ostiary, robo: dict[str, Any]) -> None:
    """§3 breaks: the list cuts an id, or `--json` differs from the API."""
    listed = service.command("service-account", "list").stdout
    assert listed.splitlines()[0].split() == [
        "ID", "USERNAME", "STATUS", "NAME", "ROLES", "CREDENTIALS", "CREATED",
    ]  # fmt: skip
    assert any(line.split()[:3] == [robo["id"], robo["username"], "enabled"] for line in listed.splitlines())
    assert robo in json.loads(service.command("service-account", "list", "--json").stdout)


def test_whoever_may_not_is_refused(service: Ostiary, bob: str) -> None:
    """§2 breaks: a refusal for lack of permission is not exit 4 with the scope that is missing."""
    done = service.command("service-account", "create", "--name", "X", code=4, OSTIARY_API_KEY=bob)
    assert "write:service-accounts" in done.stderr
    assert "`ostiary whoami`" in done.stderr
