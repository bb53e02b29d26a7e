"""`ostiary service-account …`"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.audit import show_events
from ostiary.cli.invocation import again
from ostiary.cli.role_bindings import (
    Binding,
    adding,
    held,
    project_codes,
    read_role,
    role_names,
    role_names_of,
    roles_argument,
    roles_option,
    without,
)
from ostiary.cli.secret_output import out_option, save_key_file
from ostiary.cli.secret_request import create as make
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    changes,
    confirm,
    description_option,
    find_account,
    given,
    json_option,
    level_option,
    moment,
    printable,
    remove,
    resources_option,
    scopes_option,
    show_json,
    show_list,
    show_one,
    tell,
    when,
    with_client,
    yes_option,
)
from ostiary.client.api import Client

account_argument = click.argument("account", metavar="ACCOUNT", shell_complete=completion.accounts)
projects_option = click.option(
    "--project",
    "projects",
    multiple=True,
    help="Limit it to this project, by id or code; may be given several times.",
)
email_option = click.option("--email", help="Contact email, which receives the account's alerts.")


@click.group("service-account", cls=Group)
def service_account_command() -> None:
    """Create and manage service accounts.

    ACCOUNT is an id, a username, a client id or a channel identifier.
    """


@service_account_command.command()
@click.option("--name", required=True, help="Display name, 1 to 253 characters.")
@click.option("--username", help="Unique in the organization. Default: derived from the name.")
@description_option
@email_option
@roles_option
@level_option
@scopes_option
@resources_option
@projects_option
@click.option(
    "--credential",
    type=click.Choice(["client-secret", "api-key", "key-file", "none"]),
    default="client-secret",
    show_default=True,
    help="Kind of the first credential, which is shown once.",
)
@out_option(False, "For a key file: name of the new file. An existing file is never overwritten.")
@click.option(
    "--ip",
    "ips",
    multiple=True,
    help="Limit only the first credential to this IP address or CIDR range; may be given several times.",
)
@click.option(
    "--expires", metavar="WHEN", help="Expiry of the first credential: 90d, a date (UTC) or a time."
)
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
    resources: tuple[str, ...],
    projects: tuple[str, ...],
    credential: str,
    out: Path | None,
    ips: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Create a service account and its first credential, a client secret by default.

    \b
    Examples:
      ostiary service-account create --name "CI bot" --role developer
      ostiary service-account create --name "Deployer" --role viewer@website --credential api-key
    """
    if credential == "none" and (ips or expires):
        raise click.UsageError(
            "--ip and --expires are for a credential. They cannot be used with --credential none."
        )
    if (credential == "key-file") != (out is not None):
        raise click.UsageError(
            "--credential key-file needs --out FILE."
            if out is None
            else "--out is for --credential key-file only."
        )
    body = given(
        display_name=name,
        username=username,
        description=description,
        contact_email=email,
        roles=[read_role(each) for each in roles],
        access_level=access_level,
        scopes=scopes,
        resources=resources,
        projects=projects,
    )
    if credential != "none":
        expires_at = moment("--expires", expires, 1) if expires else None
        body["credential"] = given(kind=credential.replace("-", "_"), allowed_ips=ips, expires_at=expires_at)

    path = "/v1/service-accounts"

    def show_made(made: dict[str, Any]) -> None:
        if as_json:
            show_json(made if out is None else made | {"file": str(out)})
            return
        account = made["service_account"]
        click.echo(f"Service Account ID: {printable(account['id'])}")
        click.echo(f"Client ID: {printable(account['client_id'])}")
        if out is not None:
            click.echo(f"Key File: {printable(str(out))}")
            click.echo(f"Key ID: {printable(made['credential']['access_id'])}")
        elif credential != "none":
            title = "API Key" if credential == "api-key" else "Client Secret"
            click.echo(f"{title}: {printable(made['secret'])}")
        click.echo(f"Username: {printable(account['username'])}")

    if out is None:
        made = make(api, path, body, show_made)
    else:
        made = save_key_file(api, path, body, out)
        show_made(made)
    if as_json:
        return
    account = made["service_account"]
    if credential in ("api-key", "client-secret"):
        click.echo("Store it now: it is not shown again.", err=True)
    elif credential == "none":
        generate = again(f"api-key generate --service-account {printable(account['username'])}")
        click.echo(f"Next: {generate}", err=True)
    if not account["roles"]:
        grant = again(f"service-account grant {printable(account['username'])} ROLE")
        click.echo(f"It has no role yet, so it may do nothing. Give it one: {grant}", err=True)


@service_account_command.command("list")
@json_option
@with_client
def list_accounts(api: Client, as_json: bool) -> None:
    """List the organization's service accounts, newest first."""
    found = list(api.pages("/v1/service-accounts"))
    codes = {} if as_json else project_codes(api, (role for each in found for role in each.get("roles", ())))
    show_list(
        found,
        as_json,
        [
            Column("ID", "id"),
            Column("USERNAME", "username"),
            Column("STATUS", "status"),
            Column("NAME", "display_name", spare=1),
            Column("CONTACT", "contact_email", spare=4),
            Column("ROLES", lambda each: role_names(each["roles"], codes)),
            Column("CREDENTIALS", "credentials", spare=2),
            Column("CREATED", lambda each: ago(each["created_at"]), spare=3),
        ],
        "No service accounts yet. Create one:\n"
        "  " + again('service-account create --name "CI bot" --role developer'),
    )


@service_account_command.command()
@account_argument
@json_option
@with_client
def show(api: Client, account: str, as_json: bool) -> None:
    """Show one service account."""
    found = api.request("GET", _address(api, account))
    show_one(found, as_json, lambda found: _fields(api, found))


@service_account_command.command()
@account_argument
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="Print at most this many events, the newest ones.",
)
@json_option
@with_client
def activity(api: Client, account: str, limit: int, as_json: bool) -> None:
    """Show the audit events of an account and its credentials, newest last."""
    pages = api.pages(f"{_address(api, account)}/activity", {"limit": min(limit, 200)})
    found = list(islice(pages, limit))[::-1]
    if as_json:
        show_json(found)
    else:
        show_events(found, "No events yet. Uses appear after about ten seconds.")


@service_account_command.command()
@account_argument
@click.option("--name", help="Display name, 1 to 253 characters.")
@description_option
@email_option
@level_option
@scopes_option
@resources_option
@projects_option
@json_option
@with_client
def update(
    api: Client,
    account: str,
    name: str | None,
    description: str | None,
    email: str | None,
    access_level: str | None,
    scopes: tuple[str, ...],
    resources: tuple[str, ...],
    projects: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change a service account. Options that you leave out change nothing. An empty value removes a limit.

    \b
    Example:
      ostiary service-account update ci-bot --email ops@acme.example --resource ''
    """
    body = changes(
        display_name=name,
        description=description,
        contact_email=email,
        access_level=access_level,
        scopes=scopes,
        resources=resources,
        projects=projects,
    )
    if email == "":
        body["contact_email"] = None
    changed = api.request("PATCH", _address(api, account), json=body)
    show_one(changed, as_json, lambda found: _fields(api, found))


@service_account_command.command()
@account_argument
@json_option
@with_client
def roles(api: Client, account: str, as_json: bool) -> None:
    """List the roles of a service account, with the organization or project of each."""
    found = api.request("GET", _bindings(api, account))["bindings"]
    codes = {} if as_json else project_codes(api, found)
    show_list(
        found,
        as_json,
        [
            Column("ROLE", "role"),
            Column("ON", lambda each: _place(each["on"], codes)),
        ],
        "It has no role, so it may do nothing. Give it one:\n"
        "  " + again(f"service-account grant {printable(account)} developer"),
    )


@service_account_command.command()
@account_argument
@roles_argument("ROLE[@PROJECT]")
@json_option
@with_client
def grant(api: Client, account: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Give roles to a service account, on the organization or on a project.

    \b
    Example:
      ostiary service-account grant ci-bot developer viewer@website
    """
    _change(api, account, adding(roles), as_json)


@service_account_command.command()
@account_argument
@roles_argument("ROLE[@PROJECT]")
@json_option
@with_client
def ungrant(api: Client, account: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Take roles from a service account."""
    _change(api, account, without(api, roles, account), as_json)


@service_account_command.command("set-roles")
@account_argument
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE[@PROJECT]",
    shell_complete=completion.roles,
    help="A role to hold; may be given several times. Without any --role, all roles are removed.",
)
@yes_option
@json_option
@with_client
def set_roles(api: Client, account: str, roles: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Replace all roles of a service account."""
    if not roles:
        confirm(yes, lambda: f"Remove all roles of {account}?")
    body = {"bindings": [read_role(each) for each in roles]}
    answer = api.request("PUT", _bindings(api, account), json=body)
    tell(answer, as_json, lambda: held(api, account, answer["bindings"]))


@service_account_command.command()
@account_argument
@json_option
@with_client
def disable(api: Client, account: str, as_json: bool) -> None:
    """Disable a service account. All its credentials are refused until it is enabled again."""
    _set(api, account, "disable", as_json)


@service_account_command.command()
@account_argument
@json_option
@with_client
def enable(api: Client, account: str, as_json: bool) -> None:
    """Enable a disabled service account again."""
    _set(api, account, "enable", as_json)


@service_account_command.command()
@account_argument
@yes_option
@json_option
@with_client
def delete(api: Client, account: str, yes: bool, as_json: bool) -> None:
    """Delete a service account and revoke its credentials, permanently."""
    address = _address(api, account)

    def question() -> str:
        found = api.request("GET", address)
        name = f"{found['display_name']} ({found['username']})"
        return f"Delete {name} and revoke its credentials ({found['credentials']}) permanently?"

    done = f"{account} is deleted. Its credentials are revoked."
    remove(api, address, account, as_json, yes, question, done)


def _set(api: Client, account: str, verb: str, as_json: bool) -> None:
    changed = api.request("POST", f"{_address(api, account)}/{verb}")
    tell(changed, as_json, lambda: f"{changed['display_name']} is {changed['status']}.")


def _change(api: Client, account: str, edit: Callable[[list[Binding]], list[Binding]], as_json: bool) -> None:
    answer = api.change(_bindings(api, account), "PUT", lambda found: {"bindings": edit(found["bindings"])})
    tell(answer, as_json, lambda: held(api, account, answer["bindings"]))


def _place(on: str, codes: dict[str, str]) -> str:
    return f"project {codes.get(on, on)}" if on.startswith("prj_") else "organization"


def _address(api: Client, account: str) -> str:
    return f"/v1/service-accounts/{find_account(api, account)}"


def _bindings(api: Client, account: str) -> str:
    return f"{_address(api, account)}/role-bindings"


def _fields(api: Client, account: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Name", lambda: account["display_name"]),
        ("ID", lambda: account["id"]),
        ("Username", lambda: account["username"]),
        ("Client ID", lambda: account["client_id"]),
        ("Channel identifier", lambda: account["channel_identifier"]),
        ("Description", lambda: account["description"]),
        ("Contact", lambda: account["contact_email"]),
        ("Status", lambda: account["status"]),
        ("Roles", lambda: role_names_of(api, account["roles"])),
        ("Access level", lambda: account["access_level"]),
        ("Scopes", lambda: account["scopes"]),
        ("Resources", lambda: account["resources"]),
        ("Projects", lambda: account["projects"]),
        ("Credentials", lambda: str(account["credentials"])),
        ("On behalf of", lambda: _on_behalf(account["on_behalf"])),
        ("Created", lambda: when(account["created_at"])),
    ]


def _on_behalf(found: dict[str, Any] | None) -> str | None:
    """Return the organization, scopes and projects of the consent that the account was created for, as text."""
    if found is None:
        return None
    projects = ", ".join(f"{each['name']} ({each['id']})" for each in found["projects"])
    return f"{found['organization']['name']}: {' '.join(found['scopes'])} on {projects} (consent {found['grant']})"
