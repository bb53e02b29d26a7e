"""`ostiary credential …`"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from ostiary.cli import completion
from ostiary.cli.credential_lookup import (
    address_of,
    credential_argument,
    described,
    find_credential,
    with_credential,
)
from ostiary.cli.credential_options import ips_option, uses
from ostiary.cli.invocation import again
from ostiary.cli.rotation import rotate_command, rotation_command
from ostiary.cli.secret_output import ending
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    asks,
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
    when,
    with_client,
    yes_option,
)
from ostiary.client.api import Client, RefusedError
from ostiary.core.model import KIND_NAMES

T = TypeVar("T")

_ORDERS: Final[dict[str, Callable[[Any], Any] | None]] = {
    "name": lambda each: each.get("name", "").casefold(),
    "created": None,
    "used": lambda each: each.get("last_used_at") or "",
    "expires": lambda each: (each.get("expires_at") is None, each.get("expires_at") or ""),
}
"""Sort keys of `list`. None: the API's own order, by time of creation. All times of the API sort as text."""


@click.group("credential", cls=Group)
def credential_command() -> None:
    """List, change, rotate, revoke and delete credentials.

    ID is the id that `list` shows. You can also give the last six characters of the secret, or the credential's name if
    no other credential has it.
    """


@credential_command.command("list")
@click.option(
    "--service-account",
    "account",
    metavar="ACCOUNT",
    shell_complete=completion.accounts,
    help="Only credentials of this account.",
)
@click.option(
    "--status",
    type=click.Choice(["active", "deactivated", "expired", "revoked"]),
    help="Only credentials with this status.",
)
@click.option(
    "--kind",
    type=click.Choice(["api-key", "client-secret", "key-file"]),
    help="Only credentials of this kind.",
)
@click.option(
    "--search",
    metavar="TEXT",
    help="Only credentials whose name or owner's name contains this, or with this id or these last six characters.",
)
@click.option(
    "--unused-since",
    metavar="WHEN",
    help="Only credentials created before this and not used since: 90d (ago), a date (UTC) or a time.",
)
@click.option(
    "--expires-before",
    metavar="WHEN",
    help="Only credentials that expire before this: 30d (from now), a date (UTC) or a time.",
)
@click.option(
    "--sort",
    type=click.Choice(list(_ORDERS)),
    default="created",
    show_default=True,
    help="name: by name; created: newest first; used: longest unused first; expires: soonest to expire first.",
)
@json_option
@with_client
def list_credentials(
    api: Client,
    account: str | None,
    status: str | None,
    kind: str | None,
    search: str | None,
    unused_since: str | None,
    expires_before: str | None,
    sort: str,
    as_json: bool,
) -> None:
    """List credentials.

    \b
    Examples:
      ostiary credential list --service-account ci-bot
      ostiary credential list --unused-since 90d --sort used
    """
    query = given(
        status=status,
        kind=None if kind is None else kind.replace("-", "_"),
        search=search,
        unused_since=None if unused_since is None else moment("--unused-since", unused_since, -1),
        expires_before=None if expires_before is None else moment("--expires-before", expires_before, 1),
    )
    path = "/v1/credentials"
    if account is not None:
        path = f"/v1/service-accounts/{find_account(api, account)}/credentials"
    found = list(api.pages(path, query))
    if order := _ORDERS[sort]:
        found.sort(key=order)
    show_list(
        found,
        as_json,
        [
            Column("ID", "id"),
            Column("NAME", "name"),
            Column("KIND", lambda each: KIND_NAMES.get(each["kind"], each["kind"]), spare=4),
            Column("KEY", ending),
            Column("STATUS", "status"),
            Column("OWNER", lambda each: each["owner"]["display_name"], spare=2),
            Column("LAST USED", lambda each: ago(each["last_used_at"]), spare=1),
            Column("EXPIRES", lambda each: ago(each["expires_at"]), spare=3),
            Column("CREATED", lambda each: ago(each["created_at"]), spare=5),
        ],
        "No credentials match."
        if query
        else "No credentials. Create one:\n  "
        + again(f"api-key generate --service-account {printable(account or 'ACCOUNT')}"),
    )


@credential_command.command()
@json_option
@with_credential
def show(api: Client, credential: str, as_json: bool) -> None:
    """Show one credential, without its secret."""
    show_one(api.request("GET", address_of(credential)), as_json, _fields)


@credential_command.command()
@click.option("--name", help="Name of the credential.")
@description_option
@click.option("--expires", metavar="WHEN", help="90d, a date (UTC) or a time; `never` removes the expiry.")
@ips_option
@level_option
@scopes_option
@resources_option
@click.option("--rate-limit", metavar="N", help="Most uses per minute; `none` applies the policy's limit.")
@json_option
@with_credential
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
    """Change a credential. Options that you leave out change nothing. An empty value removes a limit, such as --ip ''.

    \b
    Example:
      ostiary credential update 0qxV2j --expires 90d --ip 203.0.113.0/24
    """
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
@credential_argument(several=True)
@json_option
@with_client
def deactivate(api: Client, credentials: tuple[str, ...], as_json: bool) -> None:
    """Deactivate credentials at once. They are refused until they are activated again."""
    _set(api, credentials, "deactivate", as_json)


@credential_command.command()
@credential_argument(several=True)
@json_option
@with_client
def activate(api: Client, credentials: tuple[str, ...], as_json: bool) -> None:
    """Activate deactivated credentials again."""
    _set(api, credentials, "activate", as_json)


@credential_command.command()
@credential_argument(several=True)
@yes_option
@json_option
@with_client
def revoke(api: Client, credentials: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Revoke credentials at once and permanently. If one of several fails, the others are still revoked."""
    _set(api, credentials, "revoke", as_json, asks(yes))


@credential_command.command()
@yes_option
@json_option
@with_credential
def delete(api: Client, credential: str, yes: bool, as_json: bool) -> None:
    """Delete a revoked or expired credential, once the deletion delay of the policy is over."""
    remove(
        api,
        address_of(credential),
        credential,
        as_json,
        yes,
        lambda: f"Delete {described(api, credential)} permanently?",
        f"{credential} is deleted. Its events stay in the audit log.",
    )


def _set(api: Client, names: tuple[str, ...], verb: str, as_json: bool, ask: bool = False) -> None:
    """Apply `verb` to each of these credentials. With `ask`, ask the person once for all of them.

    Exits with 1 if one of several failed. A single one fails as in any other command.
    """

    def find(name: str) -> tuple[str, str]:
        found = find_credential(api, name)
        return found, described(api, found) if ask else ""

    def change(credential: str) -> dict[str, Any]:
        changed: dict[str, Any] = api.request("POST", f"{address_of(credential)}/{verb}")
        if not as_json:
            click.echo(printable(f"{changed['name']} ({ending(changed)}) is {changed['status']}."))
        return changed

    found = _each(names, find)
    known = dict(found)
    if ask and known:
        question = f"{verb.title()} {', '.join(known.values())} permanently?"
        if names[1:]:
            click.echo("\n".join(f"{credential}  {text}" for credential, text in known.items()), err=True)
            question = f"{verb.title()} these {len(known)} credentials permanently?"
        confirm(False, lambda: question)
    changed = _each(tuple(known), change, alone=not names[1:])
    if as_json:
        show_json(changed if names[1:] else changed[0])
    if len(found) < len(names) or len(changed) < len(known):
        raise click.exceptions.Exit(1)


def _each(names: tuple[str, ...], act: Callable[[str], T], alone: bool | None = None) -> list[T]:
    """Return the results of `act` for each name. If it fails for one of several, print the error and continue."""
    done = []
    for name in names:
        try:
            done.append(act(name))
        except (RefusedError, click.ClickException) as error:
            if len(names) == 1 if alone is None else alone:
                raise
            why = error.format_message() if isinstance(error, click.ClickException) else str(error)
            first, *rest = why.splitlines()
            for line in (f"Error: {name}: {first}", *rest):
                click.echo(printable(line), err=True)
    return done


credential_command.add_command(rotate_command)
credential_command.add_command(rotation_command)


def _old(rotation: dict[str, Any] | None) -> str | None:
    if rotation is None:
        return None
    end = ending({"last6": rotation["previous_last6"]})
    return f"{end}, accepted until {rotation['ends_at'] or 'completed'}"


def _fields(credential: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Name", lambda: credential["name"]),
        ("ID", lambda: credential["id"]),
        ("Kind", lambda: KIND_NAMES.get(credential["kind"], credential["kind"])),
        ("Key", lambda: credential["display"]),
        ("Client ID", lambda: credential["client_id"]),
        ("Compatible with", lambda: credential["compat"]),
        ("Owner", lambda: f"{credential['owner']['display_name']} ({credential['owner']['id']})"),
        ("Status", lambda: credential["status"]),
        ("Description", lambda: credential["description"]),
        ("Access level", lambda: credential["access_level"]),
        ("Scopes", lambda: credential["scopes"]),
        ("Resources", lambda: credential["resources"]),
        ("Allowed IPs", lambda: credential["allowed_ips"] or "all"),
        (
            "Rate limit",
            lambda: f"{limit} per minute" if (limit := credential["rate_limit"]) else "the policy's",
        ),
        ("Project", lambda: credential["project"]),
        ("Created", lambda: when(credential["created_at"])),
        ("Last used", lambda: ago(credential["last_used_at"])),
        ("Expires", lambda: when(credential["expires_at"]) or "never"),
        ("Rotated", lambda: when(credential["rotated_at"])),
        ("Old key", lambda: _old(credential["rotation"])),
        ("Revoked", lambda: when(credential["revoked_at"])),
    ]
