"""`ostiary project …`, including the roles on a project."""

from collections.abc import Callable
from typing import Any

import click

from ostiary.cli.invocation import again
from ostiary.cli.role_bindings import find_principal, principal_names, roles_argument
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
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
    when,
    with_client,
    yes_option,
)
from ostiary.client.api import Client

project_argument = click.argument("project")
principal_argument = click.argument("principal")


@click.group("project", cls=Group)
def project_command() -> None:
    """Manage projects and the roles on them.

    PROJECT is an id or a code. PRINCIPAL is a member's id or email, or any name of a service account.
    """


@project_command.command("list")
@json_option
@with_client
def list_projects(api: Client, as_json: bool) -> None:
    """List the organization's projects, newest first."""
    show_list(
        api.pages("/v1/projects"),
        as_json,
        [
            Column("ID", "id"),
            Column("CODE", "code"),
            Column("NAME", "name"),
            Column("DESCRIPTION", "description", spare=1),
            Column("CREATED", lambda each: ago(each["created_at"]), spare=2),
        ],
        f"No projects yet. Create one:\n  {again('project create --name Website')}",
    )


@project_command.command()
@click.option("--name", required=True, help="Display name, 1 to 253 characters.")
@click.option("--code", help="Unique short name; cannot be changed later. Default: derived from the name.")
@description_option
@json_option
@with_client
def create(api: Client, name: str, code: str | None, description: str | None, as_json: bool) -> None:
    """Create a project.

    \b
    Example:
      ostiary project create --name Website
    """
    made = api.request("POST", "/v1/projects", json=given(name=name, code=code, description=description))
    tell(made, as_json, lambda: f"{made['name']} is created: {made['code']}, {made['id']}.")
    if not as_json:
        grant = again(f"project grant {printable(made['code'])} PRINCIPAL developer")
        click.echo(f"Next: {grant}", err=True)


@project_command.command()
@project_argument
@json_option
@with_client
def show(api: Client, project: str, as_json: bool) -> None:
    """Show one project. `ostiary project roles` lists the roles on it."""
    show_one(api.request("GET", _address(project)), as_json, _fields)


@project_command.command()
@project_argument
@click.option("--name", help="Display name, 1 to 253 characters.")
@description_option
@json_option
@with_client
def update(api: Client, project: str, name: str | None, description: str | None, as_json: bool) -> None:
    """Change a project's name or description. Its code cannot be changed."""
    body = changes(name=name, description=description)
    changed = api.request("PATCH", _address(project), json=body)
    tell(changed, as_json, lambda: f"{changed['code']} is changed: {', '.join(body)}.")


@project_command.command()
@project_argument
@yes_option
@json_option
@with_client
def delete(api: Client, project: str, yes: bool, as_json: bool) -> None:
    """Delete a project and revoke the credentials that are bound to it, permanently."""

    def question() -> str:
        found = api.request("GET", _address(project))
        return f"Delete {found['name']} ({found['code']}) and revoke the credentials bound to it permanently?"

    done = f"{project} is deleted. The credentials bound to it are revoked."
    remove(api, _address(project), project, as_json, yes, question, done)


@project_command.command()
@project_argument
@json_option
@with_client
def roles(api: Client, project: str, as_json: bool) -> None:
    """List the roles on the project itself. Roles on the organization apply to its projects, too."""
    bindings = api.request("GET", f"{_address(project)}/role-bindings")["bindings"]
    names = {}
    if not as_json:
        names = principal_names(api, {each.get("principal", "") for each in bindings})
        bindings.sort(
            key=lambda each: (names.get(who := each.get("principal", ""), ""), who, each.get("role", ""))
        )
    show_list(
        bindings,
        as_json,
        [
            Column("PRINCIPAL", "principal"),
            Column("NAME", lambda each: names.get(each["principal"], "")),
            Column("ROLE", "role"),
        ],
        "There are no roles on this project. Give one:\n  "
        + again(f"project grant {printable(project)} PRINCIPAL developer"),
    )


@project_command.command()
@project_argument
@principal_argument
@roles_argument("ROLE")
@json_option
@with_client
def grant(api: Client, project: str, principal: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Give roles on the project to a member or a service account.

    \b
    Example:
      ostiary project grant website ci-bot developer
    """
    who, name = find_principal(api, principal)
    new = [{"principal": who, "role": role} for role in roles]
    _change(api, project, who, name, as_json, lambda before: [*before, *new])


@project_command.command()
@project_argument
@principal_argument
@roles_argument("ROLE")
@json_option
@with_client
def ungrant(api: Client, project: str, principal: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Take roles on the project from a member or a service account."""
    who, name = find_principal(api, principal)

    def without(before: list[dict[str, str]]) -> list[dict[str, str]]:
        held = sorted(each["role"] for each in before if each["principal"] == who)
        for role in roles:
            if role not in held:
                raise click.ClickException(
                    f"{name} does not have {role} on {project}, but {', '.join(held) or 'no role'}."
                )
        return [each for each in before if each["principal"] != who or each["role"] not in roles]

    _change(api, project, who, name, as_json, without)


def _change(
    api: Client,
    project: str,
    who: str,
    name: str,
    as_json: bool,
    edit: Callable[[list[dict[str, str]]], list[dict[str, str]]],
) -> None:
    answer = api.change(
        f"{_address(project)}/role-bindings", "PUT", lambda found: {"bindings": edit(found["bindings"])}
    )

    def held() -> str:
        names = sorted(each["role"] for each in answer["bindings"] if each["principal"] == who)
        return f"{name} has {', '.join(names) or 'no role'} on {project}."

    tell(answer, as_json, held)


def _fields(project: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Name", lambda: project["name"]),
        ("ID", lambda: project["id"]),
        ("Code", lambda: project["code"]),
        ("Description", lambda: project["description"]),
        ("Created", lambda: when(project["created_at"])),
    ]


def _address(project: str) -> str:
    return f"/v1/projects/{segment(project)}"
