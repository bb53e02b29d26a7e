"""`ostiary client …`: OAuth clients. `ostiary grant …`: people's consents to them."""

from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.invocation import again
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    changes,
    given,
    json_option,
    read_json,
    remove,
    segment,
    show_list,
    show_one,
    tell,
    when,
    with_client,
    yes_option,
)
from ostiary.client.api import Client

client_argument = click.argument("client", shell_complete=completion.clients)
grant_argument = click.argument("grant", shell_complete=completion.grants)
redirect_option = click.option(
    "--redirect-uri",
    "redirect_uris",
    multiple=True,
    metavar="URI",
    help="URI that people may be redirected to, such as https://app.example/callback; may be given several times.",
)
grant_type_option = click.option(
    "--grant-type",
    "grant_types",
    multiple=True,
    metavar="TYPE",
    help="authorization_code, refresh_token or urn:ietf:params:oauth:grant-type:device_code. Default: the first two.",
)
scope_option = click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="VERB:NOUN",
    help="Scope that the client may ask for; may be given several times.",
)
method_option = click.option(
    "--auth-method",
    type=click.Choice(["none", "private_key_jwt"]),
    help="How the client authenticates: not at all, or with a signed JWT. Clients have no client secrets.",
)
keys_option = click.option(
    "--jwks",
    type=click.File("rb"),
    metavar="FILE",
    help="File with the client's public keys, as a JWK Set; - is standard input.",
)
keys_at_option = click.option(
    "--jwks-uri", metavar="URL", help="URL of the client's public keys, instead of --jwks."
)
page_option = click.option("--client-uri", metavar="URL", help="Web page about the client, shown to people.")
project_option = click.option(
    "--project",
    help="The project that the client belongs to, by id or code (only with --access organization).",
)


@click.group("client", cls=Group)
def client_command() -> None:
    """Manage OAuth clients: applications that ask people for access.

    CLIENT is an id. A client has no secret, and no access until a person consents.
    """


@client_command.command()
@click.option("--name", required=True, help="Name on the consent page, 1 to 100 characters.")
@redirect_option
@click.option(
    "--access",
    type=click.Choice(["user", "organization"]),
    help="user: the client acts for the person who consents. organization: your organization gets access to another "
    "organization's projects. It cannot be changed later.",
)
@scope_option
@grant_type_option
@method_option
@keys_option
@keys_at_option
@page_option
@project_option
@json_option
@with_client
def create(
    api: Client, name: str, redirect_uris: tuple[str, ...], jwks: Any, as_json: bool, **more: Any
) -> None:
    """Register a client.

    \b
    Example:
      ostiary client create --name Tracker --redirect-uri https://app.example/callback --scope read:agents
    """
    body = given(name=name, jwks=_keys(jwks), **more) | {"redirect_uris": list(redirect_uris)}
    made = api.request("POST", "/v1/clients", json=body)
    tell(made, as_json, lambda: f"{made['name']} is registered. Client ID: {made['id']}")
    if made.get("scopes") == []:
        click.echo("It can ask people for everything that they may do. Use --scope to limit it.", err=True)


@client_command.command("list")
@json_option
@with_client
def list_clients(api: Client, as_json: bool) -> None:
    """List the organization's own clients, newest first."""
    show_list(
        api.pages("/v1/clients"),
        as_json,
        [
            Column("ID", "id"),
            Column("NAME", "name"),
            Column("ACCESS", "access"),
            Column("STATUS", "status"),
            Column("REDIRECTS TO", lambda each: " ".join(each["redirect_uris"]), spare=1),
            Column("CREATED", lambda each: ago(each["created_at"]), spare=2),
        ],
        "No clients yet. Register one:\n  "
        + again("client create --name Tracker --redirect-uri https://app.example/callback"),
    )


@client_command.command()
@client_argument
@json_option
@with_client
def show(api: Client, client: str, as_json: bool) -> None:
    """Show one client."""
    show_one(api.request("GET", _path(client)), as_json, _fields)


@client_command.command()
@client_argument
@click.option("--name", help="Name on the consent page, 1 to 100 characters.")
@redirect_option
@scope_option
@grant_type_option
@method_option
@keys_option
@keys_at_option
@page_option
@project_option
@json_option
@with_client
def update(api: Client, client: str, jwks: Any, as_json: bool, **more: Any) -> None:
    """Change a client. A given list replaces the old one. Existing consents stay as they are."""
    body = changes(jwks=_keys(jwks), **more)
    changed = api.request("PATCH", _path(client), json=body)
    tell(changed, as_json, lambda: f"{changed['name']} is changed: {', '.join(body)}.")


@client_command.command()
@client_argument
@json_option
@with_client
def disable(api: Client, client: str, as_json: bool) -> None:
    """Disable a client. Its requests and sessions are refused until it is enabled again."""
    changed = api.request("POST", f"{_path(client)}/disable")
    tell(changed, as_json, lambda: f"{changed['name']} is disabled. Its requests and sessions are refused.")


@client_command.command()
@client_argument
@json_option
@with_client
def enable(api: Client, client: str, as_json: bool) -> None:
    """Enable a disabled client again."""
    changed = api.request("POST", f"{_path(client)}/enable")
    tell(changed, as_json, lambda: f"{changed['name']} is enabled.")


@client_command.command()
@client_argument
@yes_option
@json_option
@with_client
def delete(api: Client, client: str, yes: bool, as_json: bool) -> None:
    """Delete a client and end all consents to it, permanently."""

    def question() -> str:
        found = api.request("GET", _path(client))
        return f"Delete {found['name']} ({found['id']}) and end all consents to it permanently?"

    done = f"{client} is deleted. All consents to it have ended."
    remove(api, _path(client), client, as_json, yes, question, done)


@click.group("grant", cls=Group)
def grant_command() -> None:
    """List and withdraw consents: what people allow clients to do. GRANT is an id."""


@grant_command.command("list")
@json_option
@with_client
def list_grants(api: Client, as_json: bool) -> None:
    """List the live consents, newest first. Without the scope read:clients: your own."""
    show_list(
        api.pages("/v1/grants"),
        as_json,
        [
            Column("ID", "id"),
            Column("CLIENT", lambda each: each["client"]["name"]),
            Column("FOR", lambda each: each["service_account"] or each["user"]["email"]),
            Column("PROJECTS", lambda each: " ".join(each["projects"]) or "all", spare=3),
            Column("SCOPES", lambda each: " ".join(each["scopes"]), spare=1),
            Column("CREATED", lambda each: ago(each["created_at"]), spare=2),
        ],
        "No consents.",
    )


@grant_command.command("show")
@grant_argument
@json_option
@with_client
def show_grant(api: Client, grant: str, as_json: bool) -> None:
    """Show one consent, even one that has ended."""
    show_one(api.request("GET", _grant(grant)), as_json, _grant_fields)


@grant_command.command()
@grant_argument
@yes_option
@json_option
@with_client
def withdraw(api: Client, grant: str, yes: bool, as_json: bool) -> None:
    """Withdraw a consent permanently. Its sessions, tokens and service account end, too."""

    def question() -> str:
        found = api.request("GET", _grant(grant))
        return (
            f"Withdraw the consent to {found['client']['name']} and end its sessions and tokens permanently?"
        )

    done = f"{grant} is withdrawn. Its sessions and tokens have ended."
    remove(api, _grant(grant), grant, as_json, yes, question, done)


def _keys(file: Any) -> Any:
    if file is None:
        return None
    try:
        return read_json(file.read().decode())
    except ValueError:
        raise click.UsageError("--jwks: the file is not valid JSON.") from None


def _fields(client: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Name", lambda: client["name"]),
        ("Client ID", lambda: client["id"]),
        ("Status", lambda: client["status"]),
        ("Access", lambda: client["access"]),
        ("Redirects to", lambda: client["redirect_uris"]),
        ("Grant types", lambda: client["grant_types"]),
        ("May ask for", lambda: client["scopes"] or "everything that the person may do"),
        ("Authentication", lambda: client["auth_method"]),
        ("Keys at", lambda: client["jwks_uri"]),
        ("Page", lambda: client["client_uri"]),
        ("Project", lambda: client["project"]),
        ("Created", lambda: when(client["created_at"])),
    ]


def _grant_fields(grant: dict[str, Any]) -> list[tuple[str, Any]]:
    client = grant.get("client", {})
    return [
        ("ID", lambda: grant["id"]),
        ("Client", lambda: f"{client['name']} ({client['id']})"),
        ("Consented", lambda: grant["user"]["email"]),
        ("Organization", lambda: grant["organization"]),
        ("Given to", lambda: client["organization"]),
        ("Account", lambda: grant["service_account"]),
        ("Scopes", lambda: grant["scopes"]),
        ("Projects", lambda: grant["projects"] or "all"),
        ("Created", lambda: when(grant["created_at"])),
        ("Ended", lambda: when(grant["revoked_at"])),
    ]


def _path(client: str) -> str:
    return f"/v1/clients/{segment(client)}"


def _grant(grant: str) -> str:
    return f"/v1/grants/{segment(grant)}"
