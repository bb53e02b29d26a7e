"""CLI: `ostiary api-key generate` prints a key once, in the chosen format."""

import json
import tomllib
from typing import Any

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full


def _generate(service: Ostiary, account: str, *options: str) -> tuple[str, str]:
    done = service.command("api-key", "generate", "--service-account", account, *options)
    return done.stdout, done.stderr


@pytest.mark.promise("P7")
def test_the_key_stands_alone_on_standard_output(service: Ostiary, robo: dict[str, Any]) -> None:
    """P7, CLI break: standard output holds more than the key, or the note beside it repeats it."""
    key, note = _generate(service, robo["username"])
    assert key == key.strip() + "\n"
    assert service.command("whoami", OSTIARY_API_KEY=key.strip()).stdout.startswith("Principal:")
    assert key.strip()[-12:] not in note
    assert f"(…{key.strip()[-6:]} of {robo['display_name']}, full access)" in note
    assert "not shown again" in note


def test_each_format_is_read_by_its_own_reader(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: the output of `--format` env, json or toml cannot be read, or has a key that does not work."""
    env, _ = _generate(service, robo["id"], "--format", "env")
    name, _, from_env = env.strip().partition("=")
    assert name == "OSTIARY_API_KEY"
    from_json = json.loads(_generate(service, robo["id"], "--format", "json")[0])["secret"]
    table = tomllib.loads(_generate(service, robo["id"], "--format", "toml")[0])["ostiary"]
    assert table["url"] == service.url
    for key in (from_env, from_json, table["api_key"]):
        service.command("whoami", OSTIARY_API_KEY=key)


def test_what_limits_a_key_is_kept(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: an option of `generate` does not reach the key that is made."""
    made = json.loads(
        _generate(
            service, robo["username"], "--name", "build job", "--scope", "read:agents", "--scope", "read:plugins",
            "--resource", "agents/*", "--ip", "203.0.113.0/24", "--expires", "2099-01-31T00:00:00Z", "--json",
        )[0]
    )["credential"]  # fmt: skip
    wanted = {
        "name": "build job",
        "access_level": "fine_grained",
        "scopes": ["read:agents", "read:plugins"],
        "resources": ["agents/*"],
        "allowed_ips": ["203.0.113.0/24"],
        "expires_at": "2099-01-31T00:00:00.000Z",
        "owner": {"type": "service_account", "id": robo["id"], "display_name": robo["display_name"]},
    }
    assert {name: made[name] for name in wanted} == wanted


def test_without_an_account_it_is_ones_own(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: a direct key does not belong to its caller, or a service account gets one."""
    made = json.loads(service.command("api-key", "generate", "--json").stdout)
    assert made["credential"]["owner"]["id"] == service.first["admin"]["id"]
    robots = _generate(service, robo["id"])[0].strip()
    done = service.command("api-key", "generate", code=4, OSTIARY_API_KEY=robots)
    assert done.stdout == ""


@pytest.mark.parametrize(
    "options, said",
    [
        (["--expires", "2020-01-01T00:00:00Z"], "--expires must lie in the future"),
        (["--expires", "0d"], "--expires must lie in the future"),
        (["--ip", "10.0.0.1/8"], "--ip entry 1 has host bits set; the range is 10.0.0.0/8"),
        (
            ["--scope", "read:agents", "--scope", "read:nothing"],
            "--scope read:nothing is not in the catalogue",
        ),
        (["--scope", "S3cret"], "--scope is not in the catalogue"),
        (["--resource", "a*b"], "--resource must be a path"),
        (["--name", "\x07"], "--name must not contain control"),
        (["--format", "yaml"], "'yaml' is not one of"),
    ],
    ids=["past", "now", "host bits", "scope", "no scope", "resource", "name", "format"],
)
def test_a_wrong_limit_makes_no_key(
    service: Ostiary, robo: dict[str, Any], options: list[str], said: str
) -> None:
    """B8 breaks: an invalid limit is dropped instead of refused with exit code 2."""
    done = service.command("api-key", "generate", "--service-account", robo["id"], *options, code=2)
    assert said in done.stderr
    assert done.stdout == ""
    assert (
        json.loads(service.command("service-account", "show", robo["id"], "--json").stdout)["credentials"]
        == 0
    )


def test_the_limit_of_ten_is_told_with_its_name(service: Ostiary, robo: dict[str, Any]) -> None:
    """B8 breaks: a limit that is reached is not exit 1 with the limit, its value and the count."""
    for _ in range(10):
        service.call("POST", f"/v1/service-accounts/{robo['id']}/credentials", {"kind": "api_key"})
    done = service.command("api-key", "generate", "--service-account", robo["id"], code=1)
    assert "max_credentials_per_service_account is 10, and 10 exist" in done.stderr
