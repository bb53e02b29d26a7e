"""`ostiary api-key …` and `ostiary credential …`"""

import json
from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    asks,
    find_account,
    json_option,
    moment,
    printable,
    segment,
    show_fields,
    show_json,
    show_table,
    with_client,
    yes_option,
)
from ostiary.client.api import Client

credential_argument = click.argument("credential", metavar="ID", shell_complete=completion.credentials)


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
@click.option(
    "--scope", "scopes", multiple=True, help="Limit the key to this scope; may be given several times."
)
@click.option("--resource", "resources", multiple=True, help="Limit it to this, such as agents/*; likewise.")
@click.option("--ip", "ips", multiple=True, help="Limit it to this address or range; likewise.")
@click.option("--project", help="Bind it to one project, by id or code.")
@click.option(
    "--expires",
    metavar="WHEN",
    help="90d, a date (UTC) or a time; without it never, unless a policy says so.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["plain", "env", "json", "toml"]),
    default="plain",
    show_default=True,
    help="The key alone, a line for a .env file, the whole answer, or TOML.",
)
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
    form: str,
    as_json: bool,
) -> None:
    """Generate an API key. It is printed on standard output, alone and only now."""
    body: dict[str, Any] = {}
    if name is not None:
        body["name"] = name
    if scopes:
        body |= {"access_level": "fine_grained", "scopes": list(scopes)}
    if resources:
        body["resources"] = list(resources)
    if ips:
        body["allowed_ips"] = list(ips)
    if project is not None:
        body["project"] = project
    if expires is not None:
        body["expires_at"] = moment("--expires", expires, 1)
    if account is None:
        made = api.request("POST", "/v1/api-keys", json=body)
    else:
        address = f"/v1/service-accounts/{find_account(api, account)}/credentials"
        made = api.request("POST", address, json={"kind": "api_key", **body})
    credential, key = made["credential"], printable(made["secret"])
    if as_json or form == "json":
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
    note = f"{credential['id']} (…{credential['last6']}){expires_text}. Store it now: it is not shown again."
    click.echo(printable(note), err=True)


@click.group("credential", cls=Group)
def credential_command() -> None:
    """List, deactivate, revoke and delete credentials. ID is the one that `list` shows."""


@credential_command.command("list")
@click.option(
    "--service-account",
    "account",
    metavar="ACCOUNT",
    shell_complete=completion.accounts,
    help="Only this account's.",
)
@click.option(
    "--status",
    type=click.Choice(["active", "deactivated", "expired", "revoked"]),
    help="Only those in this state.",
)
@json_option
@with_client
def list_credentials(api: Client, account: str | None, status: str | None, as_json: bool) -> None:
    """List credentials, newest first."""
    address = "/v1/credentials"
    if account is not None:
        address = f"/v1/service-accounts/{find_account(api, account)}/credentials"
    found = [
        each for each in api.pages(address, {"limit": 200}) if status is None or each["status"] == status
    ]
    if as_json:
        show_json(found)
        return
    show_table(
        [
            [
                each["id"],
                each["name"],
                f"…{each['last6']}",
                each["status"],
                each["owner"]["display_name"],
                ago(each["last_used_at"]),
                ago(each["expires_at"]),
                ago(each["created_at"]),
            ]
            for each in found
        ],
        [
            Column("ID", whole=True),
            Column("NAME"),
            Column("KEY", whole=True),
            Column("STATUS", whole=True),
            Column("OWNER", spare=2),
            Column("LAST USED", whole=True, spare=1),
            Column("EXPIRES", whole=True, spare=3),
            Column("CREATED", whole=True, spare=4),
        ],
        "No credentials match."
        if status
        else "No credentials. Make one:\n  ostiary api-key generate "
        f"--service-account {printable(account or 'ACCOUNT')}",
    )


@credential_command.command()
@credential_argument
@json_option
@with_client
def show(api: Client, credential: str, as_json: bool) -> None:
    """Show one credential; its secret is shown nowhere any more."""
    found = api.request("GET", _address(credential))
    if as_json:
        show_json(found)
        return
    show_fields(
        [
            ("Name", found["name"]),
            ("ID", found["id"]),
            ("Kind", found["kind"]),
            ("Key", found["display"]),
            ("Owner", f"{found['owner']['display_name']} ({found['owner']['id']})"),
            ("Status", found["status"]),
            ("Description", found["description"]),
            ("Access level", found["access_level"]),
            ("Scopes", found["scopes"]),
            ("Resources", found["resources"]),
            ("Allowed addresses", found["allowed_ips"] or "everywhere"),
            ("Project", found["project"]),
            ("Created", _when(found["created_at"])),
            ("Last used", ago(found["last_used_at"])),
            ("Expires", _when(found["expires_at"]) or "never"),
            ("Revoked", _when(found["revoked_at"])),
        ]
    )


@credential_command.command()
@credential_argument
@json_option
@with_client
def deactivate(api: Client, credential: str, as_json: bool) -> None:
    """Refuse a credential at once, until it is activated again."""
    _set(api, credential, "deactivate", as_json)


@credential_command.command()
@credential_argument
@json_option
@with_client
def activate(api: Client, credential: str, as_json: bool) -> None:
    """Accept a deactivated credential again."""
    _set(api, credential, "activate", as_json)


@credential_command.command()
@credential_argument
@yes_option
@json_option
@with_client
def revoke(api: Client, credential: str, yes: bool, as_json: bool) -> None:
    """Refuse a credential at once and for good."""
    if asks(yes):
        click.confirm(f"Revoke {_described(api, credential)} for good?", abort=True)
    _set(api, credential, "revoke", as_json)


@credential_command.command()
@credential_argument
@yes_option
@json_option
@with_client
def delete(api: Client, credential: str, yes: bool, as_json: bool) -> None:
    """Remove a revoked credential, some time after its revocation."""
    if asks(yes):
        click.confirm(f"Delete {_described(api, credential)} for good?", abort=True)
    api.request("DELETE", _address(credential))
    if as_json:
        show_json({"deleted": credential})
    else:
        click.echo(f"{printable(credential)} is deleted. Its trace stays in the audit log.")


def _set(api: Client, credential: str, verb: str, as_json: bool) -> None:
    changed = api.request("POST", f"{_address(credential)}/{verb}")
    if as_json:
        show_json(changed)
    else:
        click.echo(printable(f"{changed['name']} (…{changed['last6']}) is {changed['status']}."))


def _when(time: str | None) -> str | None:
    return None if time is None else f"{time} ({ago(time)})"


def _described(api: Client, credential: str) -> str:
    """What a person recognises it by, before it goes for good."""
    found = api.request("GET", _address(credential))
    return printable(f"{found['name']} (…{found['last6']}) of {found['owner']['display_name']}")


def _address(credential: str) -> str:
    return f"/v1/credentials/{segment(credential)}"
