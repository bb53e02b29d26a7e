"""`ostiary access-rule …`"""

from typing import Any, TextIO

import click

from ostiary.cli.invocation import MisusedError, again
from ostiary.cli.terminal import (
    Column,
    Group,
    always_json_option,
    json_option,
    read_json,
    remove,
    segment,
    show_json,
    show_rows,
    tell,
    with_client,
    yes_option,
)
from ostiary.client.api import Client
from ostiary.core.strict_json import JSONError

name_argument = click.argument("name")


@click.group("access-rule", cls=Group)
def access_rule_command() -> None:
    """Manage access rules: which scopes a request behind nginx, Caddy or Envoy needs. For the operator only."""


@access_rule_command.command()
@name_argument
@click.argument("file", type=click.File("r", encoding="utf-8"))
@json_option
@with_client
def put(api: Client, name: str, file: TextIO, as_json: bool) -> None:
    """Create or replace the rule NAME from a JSON FILE; - is standard input.

    \b
    Example:
      echo '{"match": [{"methods": ["GET"], "path": "/v1/agents/{id}",
        "scopes": ["read:agents"]}]}' | ostiary access-rule put agents -
    """
    try:
        document: Any = read_json(file.read())
    except UnicodeDecodeError:
        raise MisusedError(f"{file.name} is not UTF-8.") from None
    except JSONError as error:
        raise MisusedError(f"{file.name} {error}.") from None
    rule = api.request("PUT", _path(name), json=document)
    lines, audience = len(rule["match"]), rule.get("audience")
    tell(
        rule,
        as_json,
        f"{name} is in force, with {lines} line{'' if lines == 1 else 's'}. "
        f"Proxies call /v1/authorize/{name}; nginx calls /v1/authorize-nginx/{name}."
        + (f" Clients request tokens for it with resource={audience}" if audience else ""),
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
    show_rows(
        [(rule, line) for rule in found for line in rule.get("match", [{}])],
        [
            Column("RULE", lambda each: each[0]["name"]),
            Column("METHODS", lambda each: ",".join(each[1].get("methods") or ["any"])),
            Column("PATH", lambda each: each[1]["path"]),
            Column("SCOPES", lambda each: " ".join(each[1]["scopes"]) or "none"),
            Column("RESOURCE", lambda each: each[1].get("resource") or "", spare=2),
            Column("AUDIENCE", lambda each: each[0].get("audience") or "", spare=1),
        ],
        f"No access rules yet. Create one:\n  {again('access-rule put NAME FILE')}",
    )


@access_rule_command.command()
@name_argument
@always_json_option
@with_client
def show(api: Client, name: str) -> None:
    """Print one rule as JSON, in the form that `put` reads."""
    rule = api.request("GET", _path(name))
    rule.pop("name", None)
    show_json(rule)


@access_rule_command.command()
@name_argument
@yes_option
@json_option
@with_client
def delete(api: Client, name: str, yes: bool, as_json: bool) -> None:
    """Delete a rule. Every request of a proxy that uses it is refused from then on."""
    question = f"Delete {name}? All requests of proxies that use it will be refused."
    remove(api, _path(name), name, as_json, yes, lambda: question, f"{name} is deleted.")


def _path(name: str) -> str:
    return f"/v1/access-rules/{segment(name)}"
