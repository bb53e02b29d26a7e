"""CLI: which of environment, options and profile chooses the service, the credential and the organization."""

import json
from pathlib import Path

import pytest

from ostiary.cli.main import run
from ostiary.client.api import takes_organization
from tests.api.routes import methods_of
from tests.cast import Front
from tests.cli.edge import Stranger

JSON = "application/json"
EMPTY = (200, JSON, b'{"data":[],"next_cursor":null}')
ORG = "org_01m80q07epayqz1jx2aq5c980j"
OTHER = "org_01m80q07epayqz1jx2aq5c980k"


@pytest.fixture
def contexts(stranger: Stranger, config: Path) -> None:
    """Two contexts of the stranger's, as if each was a service of its own; `prod` is the default."""
    stranger.says(EMPTY)
    config.write_text(
        'defaultContext = "prod"\n'
        f'[contexts.prod]\nurl = "{stranger.url}/prod"\napiKey = "ak-prod"\norganization = "{ORG}"\n'
        f'[contexts.test]\nurl = "{stranger.url}/test/"\napiKey = "ak-test"\n'
        f'[contexts.bare]\nurl = "{stranger.url}/bare"\n'
    )
    config.chmod(0o600)


CASES: dict[str, tuple[dict[str, str], str, tuple[str, str, str | None]]] = {
    # environment, options, (path, credential, organization); URL is the stranger's
    "default": ({}, "", ("prod", "ak-prod", ORG)),
    "variable": ({"OSTIARY_CONTEXT": "test"}, "", ("test", "ak-test", None)),
    "option": ({"OSTIARY_CONTEXT": "prod"}, "--context test", ("test", "ak-test", None)),
    "key of the environment": ({"OSTIARY_API_KEY": "ak-env"}, "", ("prod", "ak-env", ORG)),
    "token of the environment": ({"OSTIARY_TOKEN": "t"}, "", ("prod", "t", ORG)),
    "key and context of the environment": (
        {"OSTIARY_API_KEY": "ak-env", "OSTIARY_CONTEXT": "test"},
        "",
        ("test", "ak-env", None),
    ),
    "the whole environment": ({"OSTIARY_API_KEY": "ak-env", "OSTIARY_URL": "URL"}, "", ("", "ak-env", None)),
    "the command line before the environment": (
        {"OSTIARY_API_KEY": "ak-env", "OSTIARY_URL": "URL", "OSTIARY_ORGANIZATION": OTHER},
        "--context prod",
        ("prod", "ak-prod", ORG),
    ),
    "a context without a credential": (
        {"OSTIARY_API_KEY": "ak-env"},
        "--context bare",
        ("bare", "ak-env", None),
    ),
    "the same URL": ({"OSTIARY_URL": "URL/prod/"}, "", ("prod", "ak-prod", ORG)),
    "the same URL, chosen": (
        {"OSTIARY_URL": "URL/test", "OSTIARY_CONTEXT": "test"},
        "",
        ("test/", "ak-test", None),
    ),
    "organization of the environment": ({"OSTIARY_ORGANIZATION": OTHER}, "", ("prod", "ak-prod", OTHER)),
    "organization of the command line": (
        {"OSTIARY_ORGANIZATION": ORG},
        f"--organization {OTHER}",
        ("prod", "ak-prod", OTHER),
    ),
    "an empty variable": (
        {"OSTIARY_ORGANIZATION": "", "OSTIARY_CONTEXT": "", "OSTIARY_API_KEY": "", "OSTIARY_URL": ""},
        "",
        ("prod", "ak-prod", ORG),
    ),
}


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("contexts")
def test_service_credential_and_organization_come_from_the_first_that_has_them(
    case: str, before: bool, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI breaks: a command goes elsewhere, or with another credential, than command line, environment and profile
    say in that order."""
    environment, options, (path, credential, organization) = CASES[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("URL", stranger.url))
    command = ["credential", "list"]
    assert run([*options.split(), *command] if before else [*command, *options.split()]) == 0
    [(line, headers)] = stranger.asked
    query = f"&organization={organization}" if organization else ""
    prefix = f"/{path.rstrip('/')}" if path else ""
    assert line == f"GET {prefix}/v1/credentials?limit=200{query} HTTP/1.1"
    assert headers["authorization"] == f"Bearer {credential}"


@pytest.mark.parametrize(
    "environment, options, said",
    [
        ({"OSTIARY_URL": "https://keys.evil.example"}, "", "that of the context prod is only for"),
        ({"OSTIARY_URL": "URL/prod.evil"}, "", "that of the context prod is only for"),
        ({"OSTIARY_URL": "URL/PROD"}, "", "that of the context prod is only for"),
        ({"OSTIARY_URL": "URL", "OSTIARY_CONTEXT": "test"}, "", "Unset one of them"),
        (
            {"OSTIARY_URL": "URL", "OSTIARY_CONTEXT": "test", "OSTIARY_API_KEY": "ak-env"},
            "",
            "Unset one of them",
        ),
        ({}, "--context nowhere", "There is no context nowhere"),
        ({}, "--context=", "There is no context with that name"),
        ({"OSTIARY_CONTEXT": "no where"}, "", "There is no context with that name"),
        ({}, "--context bare", "No credential: set OSTIARY_API_KEY"),
        ({}, "--organization ACME", "--organization is not an organization's id or slug"),
        ({}, "--organization=", "--organization is not an organization's id or slug"),
        (
            {"OSTIARY_ORGANIZATION": ORG.upper()},
            "",
            "OSTIARY_ORGANIZATION is not an organization's id or slug",
        ),
    ],
)
@pytest.mark.promise("P7")
@pytest.mark.usefixtures("contexts")
def test_a_kept_credential_goes_to_its_own_service_only(
    environment: dict[str, str],
    options: str,
    said: str,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """P7 breaks: a key of the profile is sent to a service that it was not kept for, or nobody says why not."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("URL", stranger.url))
    assert run(["credential", "list", *options.split()]) == 2
    assert said in capsys.readouterr().err
    assert stranger.asked == []


def test_a_job_with_a_whole_environment_never_reads_the_profile(
    config: Path, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI breaks: a job fails because of a profile in its home directory."""
    config.write_text("not toml")
    stranger.says(EMPTY)
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-env")
    assert run(["credential", "list"]) == 0
    assert run(["credential", "list", "--context", "prod"]) == 2


@pytest.mark.parametrize(
    "environment, said",
    [
        ({}, ["the context prod", "ostiary context add prod --replace --url URL/prod"]),
        ({"OSTIARY_API_KEY": "ak-env"}, ["that of OSTIARY_API_KEY.", "OSTIARY_API_KEY to a valid key"]),
        ({"OSTIARY_TOKEN": "t"}, ["that of OSTIARY_TOKEN."]),
    ],
    ids=["context", "key", "token"],
)
@pytest.mark.usefixtures("contexts")
def test_a_refusal_says_whose_credential_it_was(
    environment: dict[str, str],
    said: list[str],
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """CLI breaks: after a 401, the hint names the wrong source of the credential."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stranger.says((401, JSON, b'{"code":"invalid-credential"}'))
    assert run(["whoami"]) == 4
    shown = capsys.readouterr().err
    assert [each for each in said if each.replace("URL", stranger.url) not in shown] == []


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.usefixtures("contexts")
def test_a_refusal_elsewhere_says_where_it_was_asked(
    status: int, stranger: Stranger, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: an error in another organization does not name that organization."""
    stranger.says((status, JSON, b"{}"))
    run(["credential", "show", "cred_x"])
    assert (
        f"The organization was {ORG} (set by contexts.prod.organization in {config})."
        in capsys.readouterr().err
    )


@pytest.mark.usefixtures("contexts")
def test_what_is_about_the_credential_itself_takes_no_organization(
    stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    """API breaks: `whoami` names an organization where none is taken, or does not say where commands act."""
    body = {
        "principal": {"id": "usr_x", "display_name": "Alice"},
        "organization": {"id": OTHER, "name": "Acme"},
        "credential": {"id": "cred_x", "kind": "api_key", "name": "key", "expires_at": None},
        "project": None,
        "scopes": [],
        "resources": {"account": [], "credential": ["agents/*"]},
        "limits": {"allowed_ips": [], "projects": []},
    }
    stranger.says((200, JSON, json.dumps(body).encode()))
    assert run(["whoami"]) == 0
    assert [line for line, _ in stranger.asked] == ["GET /prod/v1/capabilities HTTP/1.1"]
    shown = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert {name: shown[name].strip() for name in ("Acting in", "Context", "Key's resources")} == {
        "Acting in": ORG,
        "Context": "prod",
        "Key's resources": "agents/*",
    }
    assert "Account's resources" not in shown


@pytest.mark.parametrize(
    "path, sent",
    [
        ("/v1/projects", f"/v1/projects?organization={ORG}"),
        ("/v1/projects?limit=1", f"/v1/projects?limit=1&organization={ORG}"),
        ("/v1/projects?limit=1#x?y", f"/v1/projects?limit=1&organization={ORG}"),
        (f"/v1/projects?organization={OTHER}", f"/v1/projects?organization={OTHER}"),
        ("/v1/capabilities?x=1", "/v1/capabilities?x=1"),
        ("/readyz", "/readyz"),
    ],
)
@pytest.mark.usefixtures("contexts")
def test_an_address_keeps_its_own_query(path: str, sent: str, stranger: Stranger) -> None:
    """API breaks: `api-call` loses a query, or acts in another organization than its address says."""
    assert run(["api-call", "GET", path]) == 0
    assert [line for line, _ in stranger.asked] == [f"GET /prod{sent} HTTP/1.1"]


def test_the_command_line_knows_which_addresses_take_an_organization(front: Front) -> None:
    """API breaks: with `--organization`, a request has a parameter that its endpoint refuses, or silently acts at home."""
    alice = front.house.alice_key
    wrong = []
    for template, methods in methods_of(front).items():
        path = template.replace("{", "").replace("}", "")
        for method in sorted(methods - {"HEAD"}):
            answer = front.ask(method, f"{path}?organization=x", {} if method != "GET" else None, key=alice)
            errors = answer.json().get("errors", []) if answer.status == 422 else []
            refused = any(each["pointer"] == "/organization" for each in errors)
            hot = template.startswith(("/v1/verify", "/v1/capabilities", "/v1/authorize"))
            if takes_organization(method, path) == (refused or hot or not path.startswith("/v1/")):
                wrong.append((method, template))
    assert wrong == []


@pytest.mark.parametrize("command", ["init", "serve", "config", "context list", "completion bash"])
@pytest.mark.parametrize("option", ["--context", "--organization"])
def test_a_choice_that_would_be_ignored_is_wrong_use(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: `ostiary --organization ORG init` ignores the option."""
    assert run([option, "x", *command.split()]) == 2
    assert f"{command.split()[0]} does not" in capsys.readouterr().err


@pytest.mark.usefixtures("contexts")
def test_a_service_that_is_silent_is_named_by_its_context(
    stranger: Stranger, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: a user of a context gets a hint about an environment variable."""
    stranger.says((200, "text/html", b"<h1>hello</h1>"))
    assert run(["whoami"]) == 1
    assert f"Is contexts.prod.url in {config} right?" in capsys.readouterr().err
