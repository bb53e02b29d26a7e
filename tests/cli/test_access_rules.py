"""CLI: the operator manages access rules with `ostiary access-rule …`."""

import json
from pathlib import Path

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full

RULE = {"match": [{"methods": ["GET"], "path": "/v1/agents/{id}", "scopes": ["read:agents"]}]}


def test_a_rule_is_put_shown_listed_and_deleted(service: Ostiary, tmp_path: Path) -> None:
    """CLI breaks: `put` does not accept what `show` prints, or a rule cannot be created and deleted."""
    file = tmp_path / "rule.json"
    file.write_text(json.dumps(RULE))
    put = service.command("access-rule", "put", "agents-cli", str(file)).stdout
    assert "agents-cli is in force, with 1 line." in put
    shown = service.command("access-rule", "show", "agents-cli").stdout
    assert json.loads(shown) == RULE
    service.command("access-rule", "put", "agents-cli", "-", stdin=shown)
    listed = service.command("access-rule", "list").stdout.splitlines()
    assert ["agents-cli", "GET", "/v1/agents/{id}", "read:agents"] in [line.split() for line in listed]
    assert json.loads(service.command("access-rule", "delete", "--yes", "agents-cli", "--json").stdout) == {
        "deleted": "agents-cli"
    }
    done = service.command("access-rule", "show", "agents-cli", code=1)
    assert "`ostiary access-rule list` shows" in done.stderr


def test_a_rule_shows_whom_tokens_are_for(service: Ostiary) -> None:
    """CLI breaks: the command line does not show the audiences for `--resource`."""
    audience = "https://cli.acme.test"
    text = json.dumps(RULE | {"audience": audience})
    put = service.command("access-rule", "put", "audience-cli", "-", stdin=text).stdout
    assert f"Clients request tokens for it with resource={audience}\n" in put
    title, *rows = [line.split() for line in service.command("access-rule", "list").stdout.splitlines()]
    assert title[-1] == "AUDIENCE"
    assert [row[-1] for row in rows if row[0] == "audience-cli"] == [audience]
    put = service.command("access-rule", "put", "audience-cli", "-", stdin=json.dumps(RULE)).stdout
    assert "resource=" not in put


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("rule", '{"match": [', "is not JSON"),
        ("rule", json.dumps(RULE | {"mtach": []}), "mtach is not a member"),
        ("rule", json.dumps({"match": [{"path": "agents"}]}), "match/0 path must begin with a slash"),
        ("Rule!", json.dumps(RULE), "name must be lower-case"),
    ],
    ids=["not JSON", "unknown member", "path", "name"],
)
def test_a_wrong_rule_is_wrong_use_and_names_the_place(
    service: Ostiary, name: str, text: str, said: str
) -> None:
    """B8 breaks: an invalid rule is accepted, or its error is not named."""
    assert said in service.command("access-rule", "put", name, "-", stdin=text, code=2).stderr


def test_rules_are_for_those_who_may(service: Ostiary, bob: str) -> None:
    """P19 breaks: a viewer changes access rules."""
    service.command(
        "access-rule", "put", "agents-bob", "-", stdin=json.dumps(RULE), code=4, OSTIARY_API_KEY=bob
    )
    service.command("access-rule", "show", "agents-bob", code=1)
