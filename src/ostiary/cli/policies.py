"""`ostiary policy …`: an organization's limits."""

import re
from typing import Any

import click

from ostiary.cli.invocation import MisusedError
from ostiary.cli.organizations import OWN, own_argument
from ostiary.cli.terminal import (
    Column,
    Group,
    json_option,
    printable,
    segment,
    show_json,
    show_rows,
    with_client,
)
from ostiary.client.api import Client, RefusedError
from ostiary.core.instant import duration_from_text, from_text

_NUMBER = re.compile(r"[0-9]{1,9}")

Limits = dict[str, dict[str, Any]]


@click.group("policy", cls=Group)
def policy_command() -> None:
    """Show and set an organization's limits.

    ORGANIZATION is an id or a slug, for operator admins. Default: your own organization.
    """


@policy_command.command()
@own_argument
@json_option
@with_client
def show(api: Client, named: str, as_json: bool) -> None:
    """Show each limit with its value, where the value comes from, and the highest value that you may choose."""
    found = api.request("GET", _address(named))
    if as_json:
        show_json(found)
        return
    show_rows(
        [{"name": name} | limit for name, limit in found["limits"].items()],
        [
            Column("LIMIT", "name"),
            Column("VALUE", lambda each: _value(each["value"])),
            Column("FROM", _source),
            Column("CEILING", lambda each: _value(each["ceiling"]), spare=1),
            Column("IN USE", lambda each: str(each.get("count", "")), spare=2),
            Column("DEFAULT", lambda each: _value(each["default"]), spare=3),
        ],
        "No limits.",
    )


def _source(limit: dict[str, Any]) -> str:
    """Return where the value in force comes from."""
    if limit["own"]:
        return "own choice"
    return "default" if limit["value"] == limit["default"] else "ceiling"


@policy_command.command("set")
@click.argument("settings", metavar="[ORGANIZATION] LIMIT=VALUE...", nargs=-1)
@click.option(
    "--ceiling",
    "ceilings",
    metavar="LIMIT=VALUE",
    multiple=True,
    help="Highest value that the organization may choose. For operator admins only; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Print what would change, without any change.")
@json_option
@with_client
def set_limits(
    api: Client, settings: tuple[str, ...], ceilings: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Set limits to a number, or to a duration such as 90d.

    `none` removes a limit. `default` restores the installation's value. Existing objects stay, even beyond a new limit.

    \b
    Example:
      ostiary policy set max_credentials_per_service_account=5 default_credential_lifetime=90d
    """
    organization = OWN
    if settings and "=" not in settings[0]:
        organization, *rest = settings
        settings = tuple(rest)
    if not settings and not ceilings:
        raise click.UsageError("Nothing to set. Give a limit, such as max_credential_lifetime=90d.")
    address = _address(organization)
    before: Limits = api.request("GET", address)["limits"]
    body: dict[str, Any] = _read(settings, before)
    if ceilings:
        body["ceilings"] = _read(ceilings, before)
    params = {"dry_run": "true"} if dry_run else None
    answer = api.request("PATCH", address, json=body, params=params)
    if as_json:
        show_json(answer)
        return
    after: Limits = answer["limits"]
    for name in [each for each in body if each != "ceilings"]:
        _tell(name, before[name], after[name], "value", dry_run)
        if before[name]["value"] != after[name]["value"]:
            for line in _beyond(api, organization, name, after[name]):
                click.echo(printable(f"  {line}"))
    for name in body.get("ceilings", ()):
        _tell(f"The ceiling of {name}", before[name], after[name], "ceiling", dry_run)
    if dry_run:
        click.echo("This was a dry run. Nothing was changed.", err=True)


def _read(settings: tuple[str, ...], known: Limits) -> dict[str, Any]:
    """Return LIMIT=VALUE settings as fields of a request. Raises MisusedError."""
    body: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise MisusedError(f"'{text}' is not LIMIT=VALUE, such as max_credential_lifetime=90d.")
        if name not in known:
            raise MisusedError(f"'{name}' is not a limit. The limits are:\n  " + "\n  ".join(known))
        if name in body:
            raise MisusedError(f"{name} is given twice.")
        length = name.endswith(("_lifetime", "_delay"))
        if length and _NUMBER.fullmatch(value):
            raise MisusedError(f"{name} must be a duration such as {value}d or {value}h, or none.")
        body[name] = None if value == "default" else int(value) if _NUMBER.fullmatch(value) else value
    return body


def _tell(name: str, before: dict[str, Any], after: dict[str, Any], what: str, dry_run: bool) -> None:
    old, new = _value(before[what]), _value(after[what])
    if old == new:
        click.echo(f"{name} {'would stay' if dry_run else 'is still'} {new}.")
    elif dry_run:
        click.echo(f"{name} would be {new} instead of {old}.")
    else:
        click.echo(f"{name} is now {new}. It was {old}.")


def _beyond(api: Client, organization: str, name: str, limit: dict[str, Any]) -> list[str]:
    """Return lines about existing objects beyond a limit; none if the caller may not see them."""
    value = limit["value"]
    if value is None:
        return []
    where = None if organization == OWN else {"organization": organization}
    try:
        if name == "max_credentials_per_service_account":
            accounts = [
                each for each in api.pages("/v1/service-accounts", where) if each["credentials"] > value
            ]
            some = ", ".join(f"{each['username']} {each['credentials']}" for each in accounts[:5])
            more = f" and {len(accounts) - 5} more" if len(accounts) > 5 else ""
            return (
                [f"These accounts have more. They keep them, and get no new ones: {some}{more}."]
                if accounts
                else []
            )
        if name == "max_credential_lifetime":
            longest = duration_from_text(value)
            number = sum(_lives_longer(each, longest) for each in api.pages("/v1/credentials", where))
            return (
                [f"Existing credentials with a longer lifetime, which do not change: {number}."]
                if number
                else []
            )
    except RefusedError as error:
        if error.status != 403:
            raise
    if "count" in limit and limit["count"] > value:
        return [f"There are already {limit['count']}. They stay, but no new one can be created."]
    return []


def _lives_longer(credential: dict[str, Any], longest: int) -> bool:
    if credential["status"] not in ("active", "deactivated"):
        return False
    expires = credential["expires_at"]
    return expires is None or from_text(expires) - from_text(credential["created_at"]) > longest


def _value(value: Any) -> str:
    return "none" if value is None else str(value)


def _address(organization: str) -> str:
    return f"/v1/organizations/{segment(organization)}/policies"
