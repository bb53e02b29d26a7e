"""`ostiary credential …`"""

from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.generating import ips_option, uses
from ostiary.cli.handing_over import ending
from ostiary.cli.invocation import again
from ostiary.cli.rotation import address_of, credential_argument, described, rotate_command, rotation_command
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    changes,
    confirm,
    description_option,
    find_account,
    json_option,
    level_option,
    moment,
    printable,
    remove,
    resources_option,
    scopes_option,
    show_list,
    show_one,
    tell,
    when,
    with_client,
    yes_option,
)
from ostiary.client.api import Client
from ostiary.core.model import KIND_NAMES


@click.group("credential", cls=Group)
def credential_command() -> None:
    """List, change, rotate, revoke and delete credentials. ID is the one that `list` shows."""


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
@click.option(
    "--kind",
    type=click.Choice(["api-key", "client-secret", "key-file"]),
    help="Only those of this kind.",
)
@json_option
@with_client
def list_credentials(
    api: Client, account: str | None, status: str | None, kind: str | None, as_json: bool
) -> None:
    """List credentials, newest first."""
    address = "/v1/credentials"
    if account is not None:
        address = f"/v1/service-accounts/{find_account(api, account)}/credentials"
    asked = {} if kind is None else {"kind": kind.replace("-", "_")}
    found = [each for each in api.pages(address, asked) if status is None or each["status"] == status]
    show_list(
        found,
        as_json,
        [
            Column("ID", "id", whole=True),
            Column("NAME", "name"),
            Column("KIND", lambda each: KIND_NAMES.get(each["kind"], each["kind"]), whole=True, spare=4),
            Column("KEY", ending, whole=True),
            Column("STATUS", "status", whole=True),
            Column("OWNER", lambda each: each["owner"]["display_name"], spare=2),
            Column("LAST USED", lambda each: ago(each["last_used_at"]), whole=True, spare=1),
            Column("EXPIRES", lambda each: ago(each["expires_at"]), whole=True, spare=3),
            Column("CREATED", lambda each: ago(each["created_at"]), whole=True, spare=5),
        ],
        "No credentials match."
        if status or kind
        else "No credentials. Make one:\n  "
        + again(f"api-key generate --service-account {printable(account or 'ACCOUNT')}"),
    )


@credential_command.command()
@credential_argument
@json_option
@with_client
def show(api: Client, credential: str, as_json: bool) -> None:
    """Show one credential; its secret is shown nowhere any more."""
    show_one(api.request("GET", address_of(credential)), as_json, _fields)


@credential_command.command()
@credential_argument
@click.option("--name", help="To tell it from others.")
@description_option
@click.option("--expires", metavar="WHEN", help="90d, or a time; `never` takes an expiry away.")
@ips_option
@level_option
@scopes_option
@resources_option
@click.option("--rate-limit", metavar="N", help="Uses a minute; `none` leaves it to the policy.")
@json_option
@with_client
def update(
    api: Client,
    credential: str,
    name: str | None,
    description: str | None,
    expires: str | None,
    ips: tuple[str, ...],
    access_level: str | None,
    scopes: tuple[str, ...],
    resources: tuple[str, ...],
    rate_limit: str | None,
    as_json: bool,
) -> None:
    """Change a credential. What is not given stays; an empty value takes limits away, such as --ip ''."""
    body = changes(
        name=name,
        description=description,
        expires_at=moment("--expires", expires, 1) if expires not in (None, "never") else expires,
        allowed_ips=ips,
        access_level=access_level,
        scopes=scopes,
        resources=resources,
        rate_limit=None if rate_limit in (None, "none") else uses(rate_limit),
    )
    if rate_limit == "none":
        body["rate_limit"] = None
    if expires == "never":
        body["expires_at"] = None
    show_one(api.request("PATCH", address_of(credential), json=body), as_json, _fields)


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
    confirm(yes, lambda: f"Revoke {described(api, credential)} for good?")
    _set(api, credential, "revoke", as_json)


@credential_command.command()
@credential_argument
@yes_option
@json_option
@with_client
def delete(api: Client, credential: str, yes: bool, as_json: bool) -> None:
    """Remove a revoked credential, some time after its revocation."""
    remove(
        api,
        address_of(credential),
        credential,
        as_json,
        yes,
        lambda: f"Delete {described(api, credential)} for good?",
        f"{credential} is deleted. Its trace stays in the audit log.",
    )


def _set(api: Client, credential: str, verb: str, as_json: bool) -> None:
    changed = api.request("POST", f"{address_of(credential)}/{verb}")
    tell(changed, as_json, f"{changed['name']} ({ending(changed)}) is {changed['status']}.")


credential_command.add_command(rotate_command)
credential_command.add_command(rotation_command)


def _old(rotation: dict[str, Any] | None) -> str | None:
    if rotation is None:
        return None
    end = ending({"last6": rotation["previous_last6"]})
    return f"{end}, accepted until {rotation['ends_at'] or 'completed'}"


def _fields(credential: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Name", credential["name"]),
        ("ID", credential["id"]),
        ("Kind", KIND_NAMES.get(credential["kind"], credential["kind"])),
        ("Key", credential["display"]),
        ("Client ID", credential["client_id"]),
        ("Compatible with", credential["compat"]),
        ("Owner", f"{credential['owner']['display_name']} ({credential['owner']['id']})"),
        ("Status", credential["status"]),
        ("Description", credential["description"]),
        ("Access level", credential["access_level"]),
        ("Scopes", credential["scopes"]),
        ("Resources", credential["resources"]),
        ("Allowed addresses", credential["allowed_ips"] or "everywhere"),
        ("Rate limit", f"{limit} a minute" if (limit := credential["rate_limit"]) else "the policy's"),
        ("Project", credential["project"]),
        ("Created", when(credential["created_at"])),
        ("Last used", ago(credential["last_used_at"])),
        ("Expires", when(credential["expires_at"]) or "never"),
        ("Rotated", when(credential["rotated_at"])),
        ("Old key", _old(credential["rotation"])),
        ("Revoked", when(credential["revoked_at"])),
    ]
