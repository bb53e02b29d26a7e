"""CLI: a person stores services and their credentials with `ostiary context …`."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ostiary.cli import profile
from tests.cli.edge import on_terminal
from tests.servers import Ostiary, free_port, run_command

pytestmark = pytest.mark.full


def _add(service: Ostiary, name: str = "prod", *options: str, code: int = 0, key: str | None = None) -> Any:
    arguments = ["context", "add", name, "--url", service.url, *options]
    return run_command(*arguments, code=code, stdin=service.key if key is None else key)


def _list() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run_command("context", "list", "--json").stdout)
    return found


@pytest.mark.promise("P7")
def test_a_service_is_kept_and_used(service: Ostiary) -> None:
    """P7, CLI break: after `context add` a command still needs the key, or the key is shown again."""
    done = _add(service)
    assert (
        f"prod is stored: alice@acme.test ({service.first['admin']['id']}) at {service.url}." in done.stdout
    )
    shown = [
        run_command("context", *each.split()) for each in ("list", "list --json", "show", "show --json prod")
    ]
    assert [each for each in (done, *shown) if service.key[-12:] in each.stdout + each.stderr] == []
    for each in shown:
        assert f"{service.key[:35]}…{service.key[-6:]}" in each.stdout
    assert "alice@acme.test" in run_command("whoami").stdout
    assert _list()[0]["current"] is True


def test_the_key_stays_in_its_file_where_one_is_named(service: Ostiary, tmp_path: Path) -> None:
    """CLI breaks: `--api-key-file` copies the key, or takes one that others can read."""
    file = tmp_path / "key"
    file.write_text(service.key)
    file.chmod(0o644)  # whatever the umask is
    arguments = ["context", "add", "prod", "--url", service.url, "--api-key-file", str(file)]
    assert "chmod 600" in run_command(*arguments, code=2).stderr
    file.chmod(0o600)
    run_command(*arguments)
    assert service.key not in profile.profile_path().read_text()
    assert tomllib.loads(profile.profile_path().read_text())["contexts"]["prod"]["apiKeyFile"] == str(file)
    run_command("whoami")
    assert f"file {file}" in run_command("context", "show").stdout


@pytest.mark.parametrize(
    "options, key, code, said",
    [
        (["--url", "http://keys.example"], None, 2, "--url is neither https nor on this machine"),
        (["--url", "http://u:hunter2@localhost"], None, 2, "--url must be a URL without user"),
        (["--url", "keys.example"], None, 2, "--url is not a URL"),
        (["--organization", "ACME"], None, 2, "--organization is not an organization's id or slug"),
        ([], "", 2, "Standard input has no key"),
        ([], "two words", 2, "Standard input has no key"),
        ([], "ak-nobody", 4, "prod is not stored"),
    ],
    ids=["http", "user", "no URL", "organization", "no key", "no such key", "unknown key"],
)
@pytest.mark.promise("P7")
def test_what_cannot_be_used_is_not_kept(
    service: Ostiary, options: list[str], key: str | None, code: int, said: str
) -> None:
    """P7, R22 break: a context is kept whose key would travel in clear, or that opens nothing."""
    done = _add(service, "prod", *options, code=code, key=key)
    assert said in done.stderr
    assert "hunter2" not in done.stderr
    assert not profile.profile_path().exists()


def test_a_silent_service_is_kept_only_unasked(service: Ostiary) -> None:
    """CLI breaks: `context add` stores a key that it could not check, or `--no-check` checks it."""
    url = f"http://127.0.0.1:{free_port()}"
    done = run_command("context", "add", "prod", "--url", url, code=3, stdin=service.key)
    assert "--url right?" in done.stderr
    run_command("context", "add", "prod", "--url", url, "--no-check", stdin=service.key)
    assert [each["url"] for each in _list()] == [url]


@pytest.mark.parametrize("name", ["", "a b", "-a", "é", "a" * 64, "a/b", "$(x)"])
def test_a_name_that_a_shell_would_change_is_no_name(service: Ostiary, name: str) -> None:
    """CLI breaks: a context gets a name that needs quotes in a shell."""
    done = run_command("context", "add", "--url", service.url, "--", name, code=2, stdin=service.key)
    assert "NAME must be 1 to 63" in done.stderr


def test_one_context_is_replaced_chosen_and_forgotten(service: Ostiary, bob: str) -> None:
    """CLI breaks: `add --replace`, `use` or `remove` does not do what it says, or does it to another context."""
    _add(service)
    assert "The context prod exists already" in _add(service, code=2).stderr
    org = service.first["organization"]["id"]
    assert "`ostiary context use test`" in _add(service, "test", "--organization", org, key=bob).stderr
    assert [(each["name"], each["organization"], each["current"]) for each in _list()] == [
        ("prod", None, True),
        ("test", org, False),
    ]
    assert "Bob" in run_command("--context", "test", "whoami").stdout
    assert "from now on" in run_command("context", "use", "test").stdout
    assert "Bob" in run_command("whoami").stdout
    _add(service, "test", "--replace")
    assert "alice@acme.test" in run_command("whoami").stdout
    assert _list()[-1]["organization"] is None
    done = run_command("context", "remove", "--yes", "test")
    assert "credential revoke" in done.stderr
    assert [(each["name"], each["current"]) for each in _list()] == [("prod", False)]
    assert "ostiary context use NAME" in run_command("context", "show", code=2).stderr
    for command in ("use", "remove", "show"):
        assert "There is no context test" in run_command("context", command, "test", code=2).stderr


def test_what_stands_before_a_context_is_said(service: Ostiary) -> None:
    """CLI breaks: `context use` seems to do nothing, because a variable of the shell comes first."""
    _add(service)
    for command in ("use prod", "list", "show"):
        done = run_command("context", *command.split(), environment={"OSTIARY_API_KEY": "ak-x"})
        assert "OSTIARY_API_KEY is set and overrides the default" in done.stderr


def test_an_empty_list_says_how_to_begin() -> None:
    """CLI breaks: whoever has no context is not told how to make one."""
    code, shown = on_terminal("context", "list", environment={})
    assert code == 0
    assert "\n  ostiary context add prod --url https://keys.example.com" in shown


@pytest.mark.promise("P7")
def test_a_person_is_asked_for_the_key_unseen(service: Ostiary) -> None:
    """P7 breaks: the terminal shows the key while it is typed."""
    code, shown = on_terminal(
        "context", "add", "prod", "--url", service.url,
        environment={}, answer=f"{service.key}\n", question="API key (not shown): ", columns=200,
    )  # fmt: skip
    assert code == 0
    assert "prod is stored: alice@acme.test" in shown
    assert service.key[-12:] not in shown
    code, shown = on_terminal("context", "remove", "prod", environment={}, answer="n\n", columns=200)
    assert code == 1
    assert f"Remove prod, with {service.key[:35]}…{service.key[-6:]}?" in shown
    assert [each["name"] for each in _list()] == ["prod"]


def test_an_operator_acts_in_another_organization(service: Ostiary) -> None:
    """API breaks: with `--organization` an operator's command acts at home."""
    name = {"name": "Umbrella", "slug": "umbrella-of-contexts"}
    umbrella = service.call("POST", "/v1/organizations", name).json()["id"]
    _add(service)
    run_command("service-account", "create", "--name", "Far bot", "--organization", umbrella)
    here = run_command("service-account", "list").stdout
    there = run_command("--organization", umbrella, "service-account", "list").stdout
    also = run_command("service-account", "list", environment={"OSTIARY_ORGANIZATION": umbrella}).stdout
    assert ("far-bot" in here, "far-bot" in there, there == also) == (False, True, True)
    found = json.loads(
        run_command("service-account", "show", "far-bot", "--json", "--organization", umbrella).stdout
    )
    assert found["organization"] == umbrella
    assert umbrella in run_command("whoami", "--organization", umbrella).stdout
