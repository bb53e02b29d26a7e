"""`ostiary organization …`"""

from typing import Any

import click

from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    confirm,
    json_option,
    printable,
    segment,
    show_list,
    show_one,
    tell,
    when,
    with_client,
    yes_option,
)
from ostiary.client.api import Client
from ostiary.core.check import slug_of

OWN = "-"
"""Stands for the organization that the caller acts in."""

own_argument = click.argument("named", metavar="[ORGANIZATION]", default=OWN)
organization_argument = click.argument("named", metavar="ORGANIZATION")


@click.group("organization", cls=Group)
def organization_command() -> None:
    """Show and rename your organization; for the operator: create, suspend and resume others.

    ORGANIZATION is an id or a slug. Where it is optional, the default is your own.
    """


@organization_command.command("list")
@json_option
@with_client
def list_organizations(api: Client, as_json: bool) -> None:
    """List your organization; for operator admins: all organizations, newest first."""
    show_list(
        api.pages("/v1/organizations"),
        as_json,
        [
            Column("ID", "id"),
            Column("SLUG", "slug"),
            Column("STATUS", "status"),
            Column("NAME", "name"),
            Column("KIND", _kind, spare=2),
            Column("CREATED", lambda each: ago(each["created_at"]), spare=1),
        ],
        "No organizations.",
    )


@organization_command.command()
@click.option("--name", required=True, help="Display name, 1 to 253 characters.")
@click.option("--slug", help="Unique short name; cannot be changed later. Default: derived from the name.")
@json_option
@with_client
def create(api: Client, name: str, slug: str | None, as_json: bool) -> None:
    """Create a customer's organization. For operator admins only.

    \b
    Example:
      ostiary organization create --name Umbrella
    """
    body = {"name": name, "slug": slug_of(name, "org") if slug is None else slug}
    made = api.request("POST", "/v1/organizations", json=body)
    tell(made, as_json, lambda: f"{made['name']} is created: {made['slug']}, {made['id']}.")
    if not as_json:
        click.echo(
            f"Next: ostiary --organization {printable(made['slug'])} service-account create --name NAME "
            "--role organization-admin --credential api-key",
            err=True,
        )


@organization_command.command()
@own_argument
@json_option
@with_client
def show(api: Client, named: str, as_json: bool) -> None:
    """Show one organization."""
    show_one(api.request("GET", _address(named)), as_json, _fields)


@organization_command.command()
@own_argument
@click.option("--name", required=True, help="Display name, 1 to 253 characters.")
@json_option
@with_client
def update(api: Client, named: str, name: str, as_json: bool) -> None:
    """Change an organization's name. Its slug cannot be changed."""
    changed = api.request("PATCH", _address(named), json={"name": name})
    tell(changed, as_json, lambda: f"{changed['slug']} is now named {changed['name']}.")


@organization_command.command()
@organization_argument
@yes_option
@json_option
@with_client
def suspend(api: Client, named: str, yes: bool, as_json: bool) -> None:
    """Suspend an organization. All its credentials are refused until it is resumed. For operator admins only."""

    def question() -> str:
        found = api.request("GET", _address(named))
        return f"Suspend {found['name']} ({found['slug']}) and refuse all its credentials?"

    confirm(yes, question)
    _set(api, named, True, as_json)


@organization_command.command()
@organization_argument
@json_option
@with_client
def resume(api: Client, named: str, as_json: bool) -> None:
    """Resume a suspended organization. Its credentials are accepted again. For operator admins only."""
    _set(api, named, False, as_json)


def _set(api: Client, named: str, suspended: bool, as_json: bool) -> None:
    changed = api.request("PATCH", _address(named), json={"suspended": suspended})
    tell(changed, as_json, lambda: f"{changed['name']} is {changed['status']}.")


def _kind(organization: dict[str, Any]) -> str:
    return "operator" if organization["operator"] else "customer"


def _fields(organization: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Name", lambda: organization["name"]),
        ("ID", lambda: organization["id"]),
        ("Slug", lambda: organization["slug"]),
        ("Kind", lambda: _kind(organization)),
        ("Status", lambda: organization["status"]),
        ("Created", lambda: when(organization["created_at"])),
    ]


def _address(named: str) -> str:
    return f"/v1/organizations/{segment(named)}"
