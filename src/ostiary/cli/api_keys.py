"""`ostiary api-key …`, and how a key is shown: once whole, then by its end."""

import json
from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.terminal import (
    Group,
    MisusedError,
    find_account,
    given,
    json_option,
    moment,
    printable,
    resources_option,
    scopes_option,
    show_json,
    with_client,
)
from ostiary.client.api import Client

ips_option = click.option(
    "--ip", "ips", multiple=True, help="Limit it to this address or range; may be given several times."
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["plain", "env", "json", "toml"]),
    default="plain",
    show_default=True,
    help="The key alone, a line for a .env file, the whole answer, or TOML.",
)


@click.group("api-key", cls=Group)
def api_key_command() -> None:
    """Generate API keys."""


@api_key_command.command()
@click.option(
    "--service-account",
    "account",
    metavar="ACCOUNT",
    shell_complete=completion.accounts,
    help="Whose key; without it, your own direct key.",
)
@click.option("--name", help="To tell it from others.")
@scopes_option
@resources_option
@ips_option
@click.option("--project", help="Bind it to one project, by id or code.")
@click.option(
    "--expires",
    metavar="WHEN",
    help="90d, a date (UTC) or a time; without it never, unless a policy says so.",
)
@click.option(
    "--rate-limit", metavar="N", help="How often it may be used a minute; without it, what the policy says."
)
@format_option
@json_option
@with_client
def generate(
    api: Client,
    account: str | None,
    name: str | None,
    scopes: tuple[str, ...],
    resources: tuple[str, ...],
    ips: tuple[str, ...],
    project: str | None,
    expires: str | None,
    rate_limit: str | None,
    form: str,
    as_json: bool,
) -> None:
    """Generate an API key. It is printed on standard output, alone and only now."""
    body = given(
        name=name,
        scopes=scopes,
        resources=resources,
        allowed_ips=ips,
        project=project,
        expires_at=None if expires is None else moment("--expires", expires, 1),
        rate_limit=None if rate_limit is None else uses(rate_limit),
    )
    if account is None:
        made = api.request("POST", "/v1/api-keys", json=body)
    else:
        address = f"/v1/service-accounts/{find_account(api, account)}/credentials"
        made = api.request("POST", address, json={"kind": "api_key", **body})
    show_key(api, made, "json" if as_json else form)


def uses(text: str) -> int:
    """A number of uses a minute as the API takes it. MisusedError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise MisusedError("--rate-limit must be a number of uses a minute, such as 60.")
    return int(text)


def show_key(api: Client, made: dict[str, Any], form: str) -> None:
    """A new key, alone on standard output or in the form asked for; what else there is to know beside it."""
    credential, key = made["credential"], printable(made["secret"])
    if form == "json":
        show_json(made)
    elif form == "env":
        click.echo(f"OSTIARY_API_KEY={key}")
    elif form == "toml":
        # A JSON string is a TOML string.
        for name, value in (("url", api.url), ("credential_id", credential["id"]), ("api_key", key)):
            click.echo(("[ostiary]\n" if name == "url" else "") + f"{name} = {json.dumps(value)}")
    else:
        click.echo(key)
    expires_text = f", expires {credential['expires_at']}" if credential["expires_at"] else ""
    limits = "all that its owner may do" if credential["access_level"] == "full" else "only what it lists"
    whose = f"{ending(credential)} of {credential['owner']['display_name']}, {limits}"
    note = f"{credential['id']} ({whose}){expires_text}. Store it now: it is not shown again."
    click.echo(printable(note), err=True)


def ending(key: dict[str, Any]) -> str:
    """What tells a key from others: its last characters, which nobody knows of an imported one."""
    return f"…{key['last6']}" if key["last6"] else "imported"
