"""CLI: the operator manages organizations and their limits with `ostiary organization …` and `ostiary policy …`."""

import itertools
import json
from typing import Any

import pytest

from tests.cli.edge import on_terminal
from tests.servers import Ostiary

pytestmark = pytest.mark.full

_numbers = itertools.count(1)

LIMIT = "max_credentials_per_service_account"


@pytest.fixture
def umbrella(service: Ostiary) -> str:
    """The slug of a new customer organization for each test."""
    made = service.command("organization", "create", "--name", f"Umbrella no. {next(_numbers)}", "--json")
    return str(json.loads(made.stdout)["slug"])


def _limits(service: Ostiary, *named: str) -> dict[str, Any]:
    shown = service.command("policy", "show", *named, "--json").stdout
    found: dict[str, Any] = json.loads(shown)["limits"]
    return found


def _key_in(service: Ostiary, organization: str) -> str:
    """A service account's key in another organization, created by the operator."""
    body = {"display_name": "X", "credential": {"kind": "api_key"}, "roles": [{"role": "organization-admin"}]}
    made = service.call("POST", f"/v1/service-accounts?organization={organization}", body)
    return str(made.json()["secret"])


def test_an_organization_is_made_shown_renamed_and_listed(service: Ostiary) -> None:
    """CLI breaks: `show` and `list` do not find what `create` created, by slug or by id."""
    done = service.command("organization", "create", "--name", "Umbrella Corp.", "--slug", "umbrella-corp")
    assert "Umbrella Corp. is created: umbrella-corp, org_" in done.stdout
    made = json.loads(service.command("organization", "show", "umbrella-corp", "--json").stdout)
    assert f"Next: ostiary --organization {made['slug']} service-account create" in done.stderr
    assert service.command("organization", "update", made["id"], "--name", "Umbrella").stdout == (
        "umbrella-corp is now named Umbrella.\n"
    )
    listed = service.command("organization", "list").stdout.splitlines()
    assert any(line.split()[:4] == [made["id"], "umbrella-corp", "active", "Umbrella"] for line in listed)
    own = json.loads(service.command("organization", "show", "--json").stdout)
    assert (own["operator"], own["id"]) == (True, service.first["organization"]["id"])


def test_a_suspended_organization_is_refused_until_it_is_resumed(service: Ostiary, umbrella: str) -> None:
    """P2 breaks: a key of a suspended organization is accepted after the command has ended."""
    key = _key_in(service, umbrella)
    for verb, code, state in (("suspend --yes", 4, "suspended"), ("resume", 0, "active")):
        assert service.command("organization", *verb.split(), umbrella).stdout.endswith(f"is {state}.\n")
        service.command("whoami", code=code, OSTIARY_API_KEY=key)


def test_a_person_is_asked_before_a_suspension(service: Ostiary, umbrella: str) -> None:
    """CLI breaks: a customer is suspended without confirmation, or the question does not name it."""
    environment = {"OSTIARY_URL": service.url, "OSTIARY_API_KEY": service.key}
    code, shown = on_terminal(
        "organization", "suspend", umbrella, environment=environment, columns=120, answer="n\n"
    )
    assert (code, f"({umbrella}) and refuse all" in shown) == (1, True)
    assert (
        json.loads(service.command("organization", "show", umbrella, "--json").stdout)["status"] == "active"
    )


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        ("show nobody", 1, "`ostiary organization list` shows"),
        ("suspend --yes acme", 1, "The operator's own organization"),
        ("create --name X --slug acme", 1, "slug is taken"),
        ("create --name X --slug A", 2, "--slug must be 2 to 63"),
    ],
)
def test_what_cannot_be_done_says_why(service: Ostiary, arguments: str, code: int, said: str) -> None:
    """CLI breaks: a refusal has another exit code, or does not name the option or the next step."""
    assert said in service.command("organization", *arguments.split(), code=code).stderr


def test_a_customer_sees_and_limits_its_own_only(service: Ostiary, umbrella: str) -> None:
    """P19 breaks: a customer sees or changes another organization, or its own ceiling."""
    key = _key_in(service, umbrella)
    listed = json.loads(service.command("organization", "list", "--json", OSTIARY_API_KEY=key).stdout)
    assert [each["slug"] for each in listed] == [umbrella]
    service.command("organization", "show", "acme", code=1, OSTIARY_API_KEY=key)
    service.command("organization", "suspend", "--yes", umbrella, code=4, OSTIARY_API_KEY=key)
    service.command("organization", "create", "--name", "Mine", code=4, OSTIARY_API_KEY=key)
    service.command("policy", "set", "acme", f"{LIMIT}=1", code=1, OSTIARY_API_KEY=key)
    service.command("policy", "set", "--ceiling", f"{LIMIT}=99", code=4, OSTIARY_API_KEY=key)
    done = service.command("policy", "set", f"{LIMIT}=11", code=2, OSTIARY_API_KEY=key)
    assert done.stderr == f"Error: {LIMIT} is beyond what the operator allows\n"
    service.command("policy", "set", f"{LIMIT}=9", OSTIARY_API_KEY=key)
    assert _limits(service, umbrella)[LIMIT]["value"] == 9


def test_limits_are_set_shown_and_given_back(service: Ostiary, umbrella: str) -> None:
    """Limits break: `policy set` sets another value, or `show` does not say where a value comes from."""
    done = service.command(
        "policy", "set", umbrella, f"{LIMIT}=5", "max_credential_lifetime=90d", "--ceiling", f"{LIMIT}=none"
    )
    assert done.stdout.splitlines() == [
        f"{LIMIT} is now 5. It was 10.",
        "max_credential_lifetime is now 90d. It was none.",
        f"The ceiling of {LIMIT} is now none. It was 10.",
    ]
    shown = [line.split() for line in service.command("policy", "show", umbrella).stdout.splitlines()]
    assert shown[0] == ["LIMIT", "VALUE", "FROM", "CEILING", "IN", "USE", "DEFAULT"]
    assert [LIMIT, "5", "own", "choice", "none", "10"] in shown
    assert ["deletion_delay", "1d", "default", "30d", "1d"] in shown
    service.command("policy", "set", umbrella, f"{LIMIT}=default", "--ceiling", f"{LIMIT}=default")
    limit = _limits(service, umbrella)[LIMIT]
    assert limit == {"value": 10, "default": 10, "ceiling": 10, "own": False}


def test_a_dry_run_tells_what_is_beyond_and_changes_nothing(service: Ostiary, umbrella: str) -> None:
    """Limits break: a dry run changes a limit, misses existing objects beyond it, or counts another organization's."""
    _key_in(service, umbrella)
    before = _limits(service, umbrella)
    done = service.command(
        "policy", "set", umbrella, "--dry-run", f"{LIMIT}=0", "max_credential_lifetime=30d",
        "max_credentials_per_organization=0", "deletion_delay=1d",
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        f"{LIMIT} would be 0 instead of 10.",
        "  These accounts have more. They keep them, and get no new ones: x-account 1.",
        "max_credential_lifetime would be 30d instead of none.",
        "  Existing credentials with a longer lifetime, which do not change: 1.",
        "max_credentials_per_organization would be 0 instead of none.",
        "  There are already 1. They stay, but no new one can be created.",
        "deletion_delay would stay 1d.",
    ]
    assert "Nothing was changed" in done.stderr
    assert _limits(service, umbrella) == before
    beyond = ("policy", "set", umbrella, "--dry-run", "deletion_delay=40d")
    assert "deletion_delay must not be longer than 30d" in service.command(*beyond, code=2).stderr


@pytest.mark.parametrize(
    "settings, said",
    [
        (["nothing=1"], f"'nothing' is not a limit. The limits are:\n  {LIMIT}\n"),
        ([f"{LIMIT}=1", LIMIT], f"'{LIMIT}' is not LIMIT=VALUE"),
        ([f"{LIMIT}=1", f"{LIMIT}=2"], "is given twice"),
        ([f"{LIMIT}=many"], f"{LIMIT} must be a whole number"),
        (["max_credential_lifetime=90"], "must be a duration such as 90d or 90h"),
        (["deletion_delay=none"], "deletion_delay must be a length of time such as 24h"),
        (["--ceiling", "max_service_accounts=-1"], "the ceiling of max_service_accounts must be a whole"),
        ([], "Nothing to set"),
    ],
    ids=" ".join,
)
def test_a_wrong_limit_is_wrong_use(service: Ostiary, settings: list[str], said: str) -> None:
    """CLI breaks: an invalid limit is accepted, or its error does not name it as given."""
    assert said in service.command("policy", "set", *settings, code=2).stderr
