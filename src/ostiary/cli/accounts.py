"""`ostiary service-account …`"""

from typing import Any

import click

from ostiary.cli.terminal import (
    ago,
    confirm,
    expiry,
    find_account,
    json_option,
    printable,
    show_fields,
    show_json,
    show_table,
    with_client,
)
from ostiary.client.api import Client

account_argument = click.argument("account", metavar="ACCOUNT")


@click.group("service-account")
def service_account_command() -> None:
    """Create and manage service accounts.

    ACCOUNT is an id, a username, a client id or a channel identifier.
    """


@service_account_command.command()
@click.option("--name", required=True, help="Display name, 1 to 253 characters.")
@click.option("--username", help="Unique in the organization; derived from the name if not given.")
@click.option("--description")
@click.option("--email", help="Who is responsible: receives the account's alerts.")
@click.option("--role", "roles", multiple=True, metavar="ROLE[@PROJECT]", help="May be given several times.")
@click.option("--access-level", type=click.Choice(["full", "fine-grained"]))
@click.option("--scope", "scopes", multiple=True, help="Limit the account to these scopes.")
@click.option("--credential", type=click.Choice(["none", "api-key"]), default="none", show_default=True)
@click.option("--ip", "ips", multiple=True, help="Addresses or ranges that the credential may be used from.")
@click.option("--expires", help="When the credential expires: 90d, or a time.")
@json_option
@with_client
def create(
    api: Client,
    name: str,
    username: str | None,
    description: str | None,
    email: str | None,
    roles: tuple[str, ...],
    access_level: str | None,
    scopes: tuple[str, ...],
    credential: str,
    ips: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Create a service account."""
    if credential == "none" and (ips or expires):
        raise click.UsageError("--ip and --expires limit a credential: add --credential api-key.")
    body: dict[str, Any] = {"display_name": name, "roles": [_role(each) for each in roles]}
    for member, value in (("username", username), ("description", description), ("contact_email", email)):
        if value is not None:
            body[member] = value
    if access_level is not None:
        body["access_level"] = access_level.replace("-", "_")
    if scopes:
        body["scopes"] = list(scopes)
    if credential != "none":
        body["credential"] = {"kind": credential.replace("-", "_"), "allowed_ips": list(ips)}
        if expires:
            body["credential"]["expires_at"] = expiry(expires)
    made = api.request("POST", "/v1/service-accounts", json=body)
    if as_json:
        show_json(made)
        return
    account = made["service_account"]
    click.echo(f"Service Account ID: {account['id']}")
    click.echo(f"Client ID: {account['client_id']}")
    if made.get("secret"):
        click.echo(f"API Key: {made['secret']}")
        click.echo("Store it now: it is not shown again.", err=True)
    else:
        click.echo(f"Next: ostiary api-key generate --service-account {account['username']}", err=True)


@service_account_command.command("list")
@json_option
@with_client
def list_accounts(api: Client, as_json: bool) -> None:
    """List the organization's service accounts, newest first."""
    accounts = list(api.pages("/v1/service-accounts", {"limit": 200}))
    if as_json:
        show_json(accounts)
        return
    show_table(
        [
            [
                each["id"],
                each["username"],
                each["display_name"],
                each["status"],
                ", ".join(role["role"] for role in each["roles"]) or "none",
                str(each["credentials"]),
                ago(each["created_at"]),
            ]
            for each in accounts
        ],
        ["ID", "USERNAME", "NAME", "STATUS", "ROLES", "CREDENTIALS", "CREATED"],
        'No service accounts yet. Make one: ostiary service-account create --name "CI bot" --role developer',
    )


@service_account_command.command()
@account_argument
@json_option
@with_client
def show(api: Client, account: str, as_json: bool) -> None:
    """Show one service account."""
    found = api.request("GET", f"/v1/service-accounts/{find_account(api, account)}")
    if as_json:
        show_json(found)
    else:
        _show(found)


@service_account_command.command("set-roles")
@account_argument
@click.option(
    "--role", "roles", multiple=True, metavar="ROLE[@PROJECT]", help="None at all takes every role away."
)
@json_option
@with_client
def set_roles(api: Client, account: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Replace the roles of a service account."""
    address = f"/v1/service-accounts/{find_account(api, account)}/role-bindings"
    answer = api.request("PUT", address, json={"bindings": [_role(each) for each in roles]})
    if as_json:
        show_json(answer)
    else:
        held = ", ".join(f"{each['role']} on {each['on']}" for each in answer["bindings"])
        click.echo(f"{printable(account)} has {held or 'no role'}.")


@service_account_command.command()
@account_argument
@json_option
@with_client
def disable(api: Client, account: str, as_json: bool) -> None:
    """Refuse all of an account's credentials, until it is enabled again."""
    _set(api, account, "disable", as_json)


@service_account_command.command()
@account_argument
@json_option
@with_client
def enable(api: Client, account: str, as_json: bool) -> None:
    """Enable a disabled account again."""
    _set(api, account, "enable", as_json)


@service_account_command.command()
@account_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def delete(api: Client, account: str, yes: bool) -> None:
    """Delete an account and revoke its credentials, for good."""
    found = find_account(api, account)
    confirm(f"Delete {printable(account)} and revoke all of its credentials for good?", yes)
    api.request("DELETE", f"/v1/service-accounts/{found}")
    click.echo(f"{printable(account)} is deleted and its credentials are revoked.")


def _set(api: Client, account: str, verb: str, as_json: bool) -> None:
    changed = api.request("POST", f"/v1/service-accounts/{find_account(api, account)}/{verb}")
    if as_json:
        show_json(changed)
    else:
        click.echo(f"{printable(changed['display_name'])} is {changed['status']}.")


def _role(text: str) -> dict[str, str]:
    role, at, on = text.partition("@")
    return {"role": role, "on": on} if at else {"role": role}


def _show(account: dict[str, Any]) -> None:
    show_fields(
        [
            ("Name", account["display_name"]),
            ("ID", account["id"]),
            ("Username", account["username"]),
            ("Client ID", account["client_id"]),
            ("Channel identifier", account["channel_identifier"]),
            ("Description", account["description"]),
            ("Contact", account["contact_email"]),
            ("Status", account["status"]),
            ("Roles", [f"{each['role']} on {each['on']}" for each in account["roles"]] or "none"),
            ("Access level", account["access_level"]),
            ("Scopes", account["scopes"]),
            ("Resources", account["resources"]),
            ("Credentials", str(account["credentials"])),
            ("Created", f"{account['created_at']} ({ago(account['created_at'])})"),
        ]
    )
