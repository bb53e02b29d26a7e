"""`ostiary service-account …`"""

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
    show_fields,
    show_json,
    show_table,
    with_client,
    yes_option,
)
from ostiary.client.api import Client

account_argument = click.argument("account", metavar="ACCOUNT", shell_complete=completion.accounts)


@click.group("service-account", cls=Group)
def service_account_command() -> None:
    """Create and manage service accounts.

    ACCOUNT is an id, a username, a client id or a channel identifier.
    """


@service_account_command.command()
@click.option("--name", required=True, help="Display name, 1 to 253 characters.")
@click.option("--username", help="Unique in the organization; derived from the name if not given.")
@click.option("--description", help="For people; at most 2,000 characters.")
@click.option("--email", help="Who is responsible: receives the account's alerts.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE[@PROJECT]",
    shell_complete=completion.roles,
    help="organization-admin, developer, viewer or resource-server; may be given several times.",
)
@click.option(
    "--access-level",
    type=click.Choice(["full", "fine-grained"]),
    help="All that its roles allow, or the listed scopes only.",
)
@click.option(
    "--scope", "scopes", multiple=True, help="Limit the account to this scope; may be given several times."
)
@click.option(
    "--credential",
    type=click.Choice(["none", "api-key"]),
    default="none",
    show_default=True,
    help="Make a credential with it and show it once.",
)
@click.option(
    "--ip",
    "ips",
    multiple=True,
    help="Limit the credential to this address or range; may be given several times.",
)
@click.option("--expires", metavar="WHEN", help="When the credential expires: 90d, a date (UTC) or a time.")
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
            body["credential"]["expires_at"] = moment("--expires", expires, 1)
    made = api.request("POST", "/v1/service-accounts", json=body)
    if as_json:
        show_json(made)
        return
    account = made["service_account"]
    click.echo(f"Service Account ID: {printable(account['id'])}")
    click.echo(f"Client ID: {printable(account['client_id'])}")
    click.echo(f"Username: {printable(account['username'])}")
    if made.get("secret"):
        click.echo(f"API Key: {printable(made['secret'])}")
        click.echo("Store it now: it is not shown again.", err=True)
    else:
        click.echo(
            f"Next: ostiary api-key generate --service-account {printable(account['username'])}", err=True
        )


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
                each["status"],
                each["display_name"],
                ", ".join(role["role"] for role in each["roles"]) or "none",
                str(each["credentials"]),
                ago(each["created_at"]),
            ]
            for each in accounts
        ],
        [
            Column("ID", whole=True),
            Column("USERNAME"),
            Column("STATUS", whole=True),
            Column("NAME", spare=1),
            Column("ROLES"),
            Column("CREDENTIALS", whole=True, spare=2),
            Column("CREATED", whole=True, spare=3),
        ],
        "No service accounts yet. Make one:\n"
        '  ostiary service-account create --name "CI bot" --role developer',
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
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE[@PROJECT]",
    shell_complete=completion.roles,
    help="None at all takes every role away.",
)
@yes_option
@json_option
@with_client
def set_roles(api: Client, account: str, roles: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Replace the roles of a service account."""
    address = f"/v1/service-accounts/{find_account(api, account)}/role-bindings"
    if not roles and asks(yes):
        click.confirm(f"Take every role away from {printable(account)}?", abort=True)
    answer = api.request("PUT", address, json={"bindings": [_role(each) for each in roles]})
    if as_json:
        show_json(answer)
    else:
        held = ", ".join(f"{each['role']} on {each['on']}" for each in answer["bindings"])
        click.echo(printable(f"{account} has {held or 'no role'}."))


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
@yes_option
@json_option
@with_client
def delete(api: Client, account: str, yes: bool, as_json: bool) -> None:
    """Delete an account and revoke its credentials, for good."""
    address = f"/v1/service-accounts/{find_account(api, account)}"
    if asks(yes):
        found = api.request("GET", address)
        name = printable(f"{found['display_name']} ({found['username']})")
        click.confirm(
            f"Delete {name} and revoke its {found['credentials']} credentials for good?", abort=True
        )
    api.request("DELETE", address)
    if as_json:
        show_json({"deleted": account})
    else:
        click.echo(f"{printable(account)} is deleted and its credentials are revoked.")


def _set(api: Client, account: str, verb: str, as_json: bool) -> None:
    changed = api.request("POST", f"/v1/service-accounts/{find_account(api, account)}/{verb}")
    if as_json:
        show_json(changed)
    else:
        click.echo(printable(f"{changed['display_name']} is {changed['status']}."))


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
