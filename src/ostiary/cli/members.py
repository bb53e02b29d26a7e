"""`ostiary member …` and `ostiary invitation …`"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from ostiary.cli.invocation import again
from ostiary.cli.role_bindings import (
    Binding,
    adding,
    find_member,
    held,
    project_codes,
    read_role,
    role_names,
    role_names_of,
    roles_argument,
    roles_option,
    without,
)
from ostiary.cli.secret_request import create
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    json_option,
    printable,
    remove,
    segment,
    show_json,
    show_list,
    show_one,
    tell,
    when,
    with_client,
    yes_option,
)
from ostiary.client.api import Client

member_argument = click.argument("member")
invitation_argument = click.argument("invitation", metavar="ID")


@click.group("member", cls=Group)
def member_command() -> None:
    """Invite people to an organization, and manage their roles.

    MEMBER is an id or an email address.
    """


@member_command.command("list")
@json_option
@with_client
def list_members(api: Client, as_json: bool) -> None:
    """List the organization's members, newest first."""
    found = list(api.pages("/v1/members"))
    codes = {} if as_json else _codes(api, found)
    show_list(
        found,
        as_json,
        [
            Column("ID", "id"),
            Column("EMAIL", "email"),
            Column("STATUS", "status", spare=1),
            Column("ROLES", lambda each: role_names(each["roles"], codes)),
            Column("JOINED", lambda each: ago(each["joined_at"]), spare=2),
        ],
        f"No members. Invite a person:\n  {again('member invite bob@example.com --role viewer')}",
    )


@member_command.command()
@member_argument
@json_option
@with_client
def show(api: Client, member: str, as_json: bool) -> None:
    """Show one member."""
    show_one(
        find_member(api, member),
        as_json,
        lambda found: [
            ("Email", lambda: found["email"]),
            ("ID", lambda: found["id"]),
            ("Status", lambda: found["status"]),
            ("Roles", lambda: role_names_of(api, found["roles"])),
            ("Joined", lambda: when(found["joined_at"])),
        ],
    )


@member_command.command()
@click.argument("email")
@roles_option
@json_option
@with_client
def invite(api: Client, email: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Invite a person and print the invitation link. It is not shown again. Send it to the person yourself.

    \b
    Example:
      ostiary member invite bob@example.com --role viewer
    """
    body = {"email": email, "roles": [read_role(each) for each in roles]}

    def note(made: dict[str, Any]) -> None:
        invitation = made["invitation"]
        text = f"{invitation['id']}: anyone with this link can join as {invitation['email']} until "
        click.echo(printable(f"{text}{invitation['expires_at']}. It is not shown again."), err=True)

    _hand_over_link(api, "/v1/invitations", body, as_json, note)


@member_command.command("reset-password")
@member_argument
@json_option
@with_client
def reset_password(api: Client, member: str, as_json: bool) -> None:
    """Print a link by which a member chooses a new password. It is not shown again."""
    found = find_member(api, member)

    def note(made: dict[str, Any]) -> None:
        text = f"Anyone with this link can set the password of {found['email']}, once, until {made['expires_at']}"
        click.echo(printable(f"{text}. It is not shown again."), err=True)

    _hand_over_link(api, f"/v1/members/{segment(found['id'])}/password-reset", None, as_json, note)


def _hand_over_link(
    api: Client, path: str, body: Any, as_json: bool, note: Callable[[dict[str, Any]], None]
) -> None:
    """Create a link by a POST and print it, after a note on standard error."""

    def put(made: dict[str, Any]) -> None:
        if as_json:
            show_json(made)
        else:
            click.echo(printable(made["link"]))

    create(api, path, body, put, note)


@member_command.command("remove")
@member_argument
@yes_option
@json_option
@with_client
def remove_member(api: Client, member: str, yes: bool, as_json: bool) -> None:
    """Remove a member and revoke their direct keys, permanently."""
    found = find_member(api, member)
    remove(
        api,
        f"/v1/members/{segment(found['id'])}",
        found["id"],
        as_json,
        yes,
        lambda: f"Remove {found['email']} and revoke their direct keys permanently?",
        f"{found['email']} is no longer a member. Their direct keys are revoked.",
    )


@member_command.command()
@member_argument
@roles_argument("ROLE[@PROJECT]")
@json_option
@with_client
def grant(api: Client, member: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Give roles to a member.

    \b
    Example:
      ostiary member grant bob@example.com developer viewer@website
    """
    found = find_member(api, member)
    _change(api, found, adding(roles), as_json)


@member_command.command()
@member_argument
@roles_argument("ROLE[@PROJECT]")
@json_option
@with_client
def ungrant(api: Client, member: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Take roles away from a member."""
    found = find_member(api, member)
    _change(api, found, without(api, roles, found["email"]), as_json)


def _change(
    api: Client, member: dict[str, Any], edit: Callable[[list[Binding]], list[Binding]], as_json: bool
) -> None:
    address = f"/v1/members/{segment(member['id'])}"
    answer = api.change(address, "PATCH", lambda found: {"roles": edit(found["roles"])})
    tell(answer, as_json, lambda: held(api, answer["email"], answer["roles"]))


@click.group("invitation", cls=Group)
def invitation_command() -> None:
    """List and withdraw invitations. `ostiary member invite` creates them."""


@invitation_command.command("list")
@json_option
@with_client
def list_invitations(api: Client, as_json: bool) -> None:
    """List invitations, newest first."""
    found = list(api.pages("/v1/invitations"))
    codes = {} if as_json else _codes(api, found)
    show_list(
        found,
        as_json,
        [
            Column("ID", "id"),
            Column("EMAIL", "email"),
            Column("STATUS", _status),
            Column("ROLES", lambda each: role_names(each["roles"], codes)),
            Column("EXPIRES", lambda each: ago(each["expires_at"]), spare=1),
            Column("CREATED", lambda each: ago(each["created_at"]), spare=2),
        ],
        f"No invitations. Invite a person:\n  {again('member invite bob@example.com --role viewer')}",
    )


@invitation_command.command()
@invitation_argument
@yes_option
@json_option
@with_client
def delete(api: Client, invitation: str, yes: bool, as_json: bool) -> None:
    """Withdraw an invitation. Its link stops working at once."""
    address = f"/v1/invitations/{segment(invitation)}"
    remove(
        api,
        address,
        invitation,
        as_json,
        yes,
        lambda: f"Withdraw the invitation of {api.request('GET', address)['email']}?",
        f"{invitation} is withdrawn.",
    )


def _codes(api: Client, found: list[dict[str, Any]]) -> dict[str, str]:
    return project_codes(api, (binding for each in found for binding in each.get("roles", ())))


def _status(invitation: dict[str, Any]) -> str:
    if invitation["accepted_at"] is not None:
        return "accepted"
    over = datetime.fromisoformat(invitation["expires_at"]) <= datetime.now(UTC)
    return "expired" if over else "open"
