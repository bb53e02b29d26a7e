"""`ostiary role …` and `ostiary scope …`"""

from typing import Any

import click

from ostiary.cli.invocation import again
from ostiary.cli.terminal import (
    Column,
    Group,
    changes,
    description_option,
    given,
    json_option,
    printable,
    remove,
    segment,
    show_list,
    show_one,
    tell,
    with_client,
    yes_option,
)
from ostiary.client.api import Client

role_argument = click.argument("role")
scope_argument = click.argument("scope")


@click.group("role", cls=Group)
def role_command() -> None:
    """Manage an organization's own roles, and show the built-in ones.

    ROLE is a name or an id. `ostiary scope list` and `ostiary role show organization-admin` list the scopes.
    """


@role_command.command("list")
@json_option
@with_client
def list_roles(api: Client, as_json: bool) -> None:
    """List the built-in roles, then the organization's own."""
    show_list(
        api.request("GET", "/v1/roles")["data"],
        as_json,
        [
            Column("NAME", "name"),
            Column("KIND", _kind),
            Column("DESCRIPTION", "description", spare=1),
            Column("SCOPES", lambda each: _few(each["scopes"]), spare=2),
        ],
        "No roles.",
    )


@role_command.command()
@role_argument
@json_option
@with_client
def show(api: Client, role: str, as_json: bool) -> None:
    """Show one role with all its scopes."""
    show_one(
        api.request("GET", _address(role)),
        as_json,
        lambda found: [
            ("Name", lambda: found["name"]),
            ("ID", lambda: found["id"]),
            ("Kind", lambda: _kind(found)),
            ("Description", lambda: found["description"]),
            ("Scopes", lambda: found["scopes"] or "none"),
        ],
    )


@role_command.command()
@click.argument("name")
@description_option
@click.option(
    "--scope", "scopes", multiple=True, help="Scope that the role grants; may be given several times."
)
@json_option
@with_client
def create(api: Client, name: str, description: str | None, scopes: tuple[str, ...], as_json: bool) -> None:
    """Create the role NAME. The name cannot be changed later.

    \b
    Example:
      ostiary role create deployer --scope read:agents --scope write:agents
    """
    body = given(name=name, description=description) | {"scopes": list(scopes)}
    made = api.request("POST", "/v1/roles", json=body)
    tell(made, as_json, lambda: _granting(made))
    if not as_json:
        grant = again(f"service-account grant ACCOUNT {printable(made['name'])}")
        click.echo(f"Next: {grant}", err=True)


@role_command.command()
@role_argument
@description_option
@click.option(
    "--scope", "scopes", multiple=True, help="Replace all scopes with this one; may be given several times."
)
@click.option("--add-scope", "added", multiple=True, help="Add this scope; may be given several times.")
@click.option(
    "--remove-scope", "removed", multiple=True, help="Remove this scope; may be given several times."
)
@json_option
@with_client
def update(
    api: Client,
    role: str,
    description: str | None,
    scopes: tuple[str, ...],
    added: tuple[str, ...],
    removed: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change a role. The change applies at once to everyone who has the role."""
    if scopes and (added or removed):
        raise click.UsageError(
            "--scope replaces all scopes. It cannot be combined with --add-scope or --remove-scope."
        )
    body = changes(description=description, scopes=scopes or added or removed)

    def edit(found: dict[str, Any]) -> dict[str, Any]:
        if not (added or removed):
            return body
        before = found["scopes"]
        missing = [each for each in removed if each not in before]
        if missing:
            raise click.ClickException(f"{role} does not grant {', '.join(missing)}.")
        return body | {"scopes": [each for each in (*before, *added) if each not in removed]}

    changed = api.change(_address(role), "PATCH", edit)
    tell(changed, as_json, lambda: _granting(changed))


@role_command.command()
@role_argument
@yes_option
@json_option
@with_client
def delete(api: Client, role: str, yes: bool, as_json: bool) -> None:
    """Delete a role permanently. Everyone who has it loses it."""
    remove(
        api,
        _address(role),
        role,
        as_json,
        yes,
        lambda: f"Delete {role}? Everyone who has it loses it.",
        f"{role} is deleted. Nobody has it any more.",
    )


def _kind(role: dict[str, Any]) -> str:
    return "built-in" if role["built_in"] else "own"


def _few(scopes: list[str]) -> str:
    """Return a role's scopes for a table cell. More than four are only counted, to keep the table readable."""
    return ", ".join(scopes) if 0 < len(scopes) <= 4 else f"{len(scopes)} scopes" if scopes else "none"


def _granting(role: dict[str, Any]) -> str:
    return f"{role['name']} grants {', '.join(role['scopes']) or 'nothing'}."


def _address(role: str) -> str:
    return f"/v1/roles/{segment(role)}"


@click.group("scope", cls=Group)
def scope_command() -> None:
    """List the catalogue of scopes; for the operator: add and remove scopes.

    A scope has the form VERB:NOUN, such as read:invoices.
    """


@scope_command.command("list")
@json_option
@with_client
def list_scopes(api: Client, as_json: bool) -> None:
    """List the scopes of your applications. `ostiary role show organization-admin` also lists those of this API."""
    show_list(
        api.request("GET", "/v1/scopes")["data"],
        as_json,
        [Column("SCOPE", "scope")],
        f"No scopes. Add one:\n  {again('scope create read:invoices')}",
    )


@scope_command.command("create")
@scope_argument
@json_option
@with_client
def create_scope(api: Client, scope: str, as_json: bool) -> None:
    """Add a scope to the catalogue. For the operator only.

    \b
    Example:
      ostiary scope create read:invoices
    """
    made = api.request("POST", "/v1/scopes", json={"scope": scope})
    tell(made, as_json, lambda: f"{made['scope']} is in the catalogue.")


@scope_command.command("delete")
@scope_argument
@yes_option
@json_option
@with_client
def delete_scope(api: Client, scope: str, yes: bool, as_json: bool) -> None:
    """Remove a scope from the catalogue. Nothing grants it from then on. For the operator only."""
    remove(
        api,
        f"/v1/scopes/{segment(scope)}",
        scope,
        as_json,
        yes,
        lambda: f"Delete {scope} in all organizations? Roles and keys that list it lose it at once.",
        f"{scope} is deleted from the catalogue. Nothing grants it any more.",
    )
