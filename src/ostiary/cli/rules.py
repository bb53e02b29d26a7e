"""`ostiary access-rule …`"""

import json
from typing import Any, TextIO
from urllib.parse import quote

import click

from ostiary.cli.terminal import json_option, printable, show_json, show_table, with_client
from ostiary.client.api import Client

name_argument = click.argument("name")


@click.group("access-rule")
def access_rule_command() -> None:
    """Say which scopes a request needs that nginx, Caddy or Envoy asks about. The operator's."""


@access_rule_command.command()
@name_argument
@click.argument("file", type=click.File("r", encoding="utf-8"))
@json_option
@with_client
def put(api: Client, name: str, file: TextIO, as_json: bool) -> None:
    """Make or replace the rule NAME from a JSON FILE (- is standard input)."""
    try:
        document: Any = json.load(file)
    except ValueError as error:
        raise click.ClickException(f"{file.name} is not JSON: {error}") from None
    answer = api.request("PUT", _address(name), json=document)
    if as_json:
        show_json(answer)
    else:
        click.echo(
            f"{name} is in force, with {len(answer['match'])} lines. Proxies ask /v1/authorize-nginx/{name}."
        )


@access_rule_command.command("list")
@json_option
@with_client
def list_rules(api: Client, as_json: bool) -> None:
    """List the access rules."""
    found = api.request("GET", "/v1/access-rules")["data"]
    if as_json:
        show_json(found)
        return
    show_table(
        [
            [
                rule["name"],
                ",".join(line.get("methods") or ["any"]),
                line["path"],
                " ".join(line["scopes"]) or "none",
                line.get("resource") or "",
            ]
            for rule in found
            for line in rule["match"]
        ],
        ["RULE", "METHODS", "PATH", "SCOPES", "RESOURCE"],
        "No access rules yet. Make one: ostiary access-rule put NAME FILE",
    )


@access_rule_command.command()
@name_argument
@with_client
def show(api: Client, name: str) -> None:
    """Print one rule as JSON, as `put` takes it."""
    rule = api.request("GET", _address(name))
    rule.pop("name")
    show_json(rule)


@access_rule_command.command()
@name_argument
@with_client
def delete(api: Client, name: str) -> None:
    """Delete a rule; proxies that ask for it are refused from then on."""
    api.request("DELETE", _address(name))
    click.echo(f"{printable(name)} is deleted.")


def _address(name: str) -> str:
    return f"/v1/access-rules/{quote(name, safe='')}"
