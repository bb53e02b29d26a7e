"""CLI: `ostiary client-secret generate` prints a client secret once, in the chosen format."""

import json
import tomllib
from typing import Any

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full


def _generate(service: Ostiary, account: str, *options: str) -> str:
    return service.command("client-secret", "generate", "--service-account", account, *options).stdout


@pytest.mark.promise("P7")
def test_the_secret_stands_alone_on_standard_output(service: Ostiary, robo: dict[str, Any]) -> None:
    """P7, CLI break: standard output holds more than the secret, or the note beside it repeats it."""
    done = service.command("client-secret", "generate", "--service-account", robo["username"])
    assert done.stdout.startswith("secret_")
    assert done.stdout == done.stdout.strip() + "\n"
    assert done.stdout.strip()[-12:] not in done.stderr
    assert "not shown again" in done.stderr


def test_each_format_has_both_halves(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI, Files break: the output of `--format` env, json or toml is not a usable client id and secret."""
    env = dict(line.split("=") for line in _generate(service, robo["id"], "--format", "env").splitlines())
    assert list(env) == ["OSTIARY_CLIENT_ID", "OSTIARY_CLIENT_SECRET", "OSTIARY_URL"]
    assert (env["OSTIARY_CLIENT_ID"], env["OSTIARY_URL"]) == (robo["client_id"], service.url)
    found = json.loads(_generate(service, robo["id"], "--format", "json"))
    assert (found["credential"]["client_id"], found["secret"][:7]) == (robo["client_id"], "secret_")
    code = json.loads(service.command("project", "create", "--name", "Shop", "--json").stdout)["code"]
    for options, project in (([], "*"), (["--project", code], code)):
        table = tomllib.loads(_generate(service, robo["username"], "--format", "toml", *options))
        context = table["contexts"][table["defaultContext"]]
        assert table["defaultContext"] == robo["username"]
        assert context.pop("clientSecret").startswith("secret_")
        assert context == {
            "clientId": robo["client_id"],
            "organization": service.first["organization"]["slug"],
            "project": project,
            "url": service.url,
            "oktaOrgURL": service.call("GET", "/.well-known/oauth-authorization-server").json()["issuer"],
            "oktaAuthServer": "ostiary",
        }


def test_what_toml_needs_is_asked_for_first(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: a configuration that cannot be written loses a new secret."""
    options = ["client-secret", "generate", "--service-account", robo["id"], "--project", "nowhere"]
    service.command(*options, "--format", "toml", code=1)
    shown = service.command("service-account", "show", robo["id"], "--json").stdout
    assert json.loads(shown)["credentials"] == 0


def test_without_an_account_it_is_the_callers(service: Ostiary) -> None:
    """CLI breaks: a service account cannot make its own secret, or a user is not told to name an account."""
    done = service.command("client-secret", "generate", code=2)
    assert "Name one with --service-account" in done.stderr
    options = ["--name", "Own", "--role", "organization-admin", "--credential", "api-key", "--json"]
    made = json.loads(service.command("service-account", "create", *options).stdout)
    found = service.command("client-secret", "generate", "--json", OSTIARY_API_KEY=made["secret"]).stdout
    assert json.loads(found)["credential"]["owner"]["id"] == made["service_account"]["id"]


def test_it_is_rotated_in_each_format(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: a rotation's new client secret is printed like an API key, or without its client id."""
    made = json.loads(_generate(service, robo["id"], "--json"))["credential"]["id"]
    plain = service.command("credential", "rotate", made, "--overlap", "0", "--yes").stdout
    assert plain.startswith("secret_")
    toml = service.command("credential", "rotate", made, "--overlap", "0", "--yes", "--format", "toml").stdout
    context = tomllib.loads(toml)["contexts"][robo["username"]]
    assert context["clientId"] == robo["client_id"]
    assert context["clientSecret"] not in plain
    listed = service.command("credential", "list", "--kind", "client-secret", "--json").stdout
    assert made in [each["id"] for each in json.loads(listed)]
    assert {each["kind"] for each in json.loads(listed)} == {"client_secret"}
