"""Who has which role where: what service accounts, members and projects have in common, and how they are named."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.terminal import find_account, printable, segment
from ostiary.client.api import Client, RefusedError

roles_option = click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE[@PROJECT]",
    shell_complete=completion.roles,
    help="Such as developer, or viewer@website on one project; may be given several times.",
)


def roles_argument(metavar: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The roles of `grant` and `ungrant`: as arguments, or with --role as where accounts and invitations are made."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @click.argument("roles", metavar=f"{metavar}...", nargs=-1, shell_complete=completion.roles)
        @click.option(
            "--role",
            "more",
            multiple=True,
            metavar=metavar,
            shell_complete=completion.roles,
            help=f"The same as {metavar}, in the form of other commands; may be given several times.",
        )
        @functools.wraps(command)
        def wrapped(*args: Any, roles: tuple[str, ...], more: tuple[str, ...], **kwargs: Any) -> None:
            if not roles + more:
                raise click.UsageError(f"Missing argument '{metavar}...'.")
            command(*args, roles=roles + more, **kwargs)

        return wrapped

    return decorated


Binding = dict[str, str]
"""`role`, and `on`: the id of an organization or project."""


def read_role(text: str) -> Binding:
    """ROLE[@PROJECT] as the API takes it."""
    role, at, on = text.partition("@")
    return {"role": role, "on": on} if at else {"role": role}


def project_codes(api: Client, bindings: Iterable[Binding]) -> dict[str, str]:
    """Codes by id of the projects that these bindings name; none where the caller may not see them."""
    wanted = any(each.get("on", "").startswith("prj_") for each in bindings)
    return _by_id(_visible(api, "/v1/projects"), "code") if wanted else {}


def role_names(bindings: Iterable[Binding], codes: dict[str, str]) -> str:
    """Bindings as `grant` takes them: `developer, viewer@website`."""
    return ", ".join(_name(each, codes) for each in bindings) or "none"


def told(api: Client, bindings: list[Binding]) -> str:
    """The same, where the codes were not asked for yet."""
    return role_names(bindings, project_codes(api, bindings))


def held(api: Client, who: str, bindings: list[Binding]) -> str:
    """A sentence of who has which roles now."""
    return f"{who} has {told(api, bindings) if bindings else 'no role'}."


def _name(binding: Binding, codes: dict[str, str]) -> str:
    on = binding["on"]
    return binding["role"] + (f"@{codes.get(on, on)}" if on.startswith("prj_") else "")


def adding(roles: Iterable[str]) -> Callable[[list[Binding]], list[Binding]]:
    """What makes these bindings of those that are there; the API drops what is there twice."""
    return lambda before: [*before, *(read_role(each) for each in roles)]


def without(api: Client, roles: Iterable[str], whose: str) -> Callable[[list[Binding]], list[Binding]]:
    """What takes these bindings away; fails where one of them is not there."""
    gone = [(text, *_where(api, text)) for text in roles]

    def edit(before: list[Binding]) -> list[Binding]:
        after = before
        for text, role, on in gone:
            kept = [
                each
                for each in after
                if each["role"] != role or not (each["on"] == on if on else each["on"].startswith("org_"))
            ]
            if len(kept) == len(after):
                raise click.ClickException(f"{whose} does not have {text}. {held(api, whose, before)}")
            after = kept
        return after

    return edit


def _where(api: Client, text: str) -> tuple[str, str]:
    """Role and project id, empty for the organization, that ROLE[@PROJECT] names."""
    role, _, on = text.partition("@")
    if not on or on.startswith(("prj_", "org_")):
        return role, on
    return role, api.request("GET", f"/v1/projects/{segment(on)}")["id"]


def find_member(api: Client, name: str) -> dict[str, Any]:
    """The member of this id or email address."""
    if name.startswith("usr_"):
        found: dict[str, Any] = api.request("GET", f"/v1/members/{segment(name)}")
        return found
    for each in _members(api, name):
        return each
    raise click.ClickException(
        f"There is no member '{printable(name[:254])}'.\n`ostiary member list` shows who there is."
    )


def find_principal(api: Client, name: str) -> tuple[str, str]:
    """Id and a name for people of a member (id, email) or a service account (any of its names)."""
    if name.startswith("usr_"):
        return name, find_member(api, name)["email"]
    if "@" in name:
        for each in _members(api, name):
            return each["id"], each["email"]
    try:
        account = api.request("GET", f"/v1/service-accounts/{find_account(api, name)}")
    except RefusedError as error:
        if error.status != 404 or "@" not in name:
            raise
        account = {}
    # The API does not compare the host of a channel identifier: ci-bot's would fit ci-bot@acme.example, a person's.
    if "@" in name and account.get("channel_identifier") != name:
        raise click.ClickException(
            f"There is no member and no service account '{printable(name[:254])}'.\n"
            "`ostiary member list` and `ostiary service-account list` show who there is."
        )
    return account["id"], account["username"]


def principal_names(api: Client, ids: set[str]) -> dict[str, str]:
    """Usernames and email addresses by id; of those only that the caller may see."""
    names: dict[str, str] = {}
    if any(each.startswith("sa_") for each in ids):
        names |= _by_id(_visible(api, "/v1/service-accounts"), "username")
    if any(each.startswith("usr_") for each in ids):
        names |= _by_id(_visible(api, "/v1/members"), "email")
    return names


def _by_id(rows: Iterable[dict[str, Any]], name: str) -> dict[str, str]:
    """This field of each row by its id, of the rows that have both."""
    return {each["id"]: each[name] for each in rows if "id" in each and name in each}


def _members(api: Client, email: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.request("GET", "/v1/members", params={"email": email[:254]})["data"]
    return found


def _visible(api: Client, path: str) -> Iterator[Any]:
    """Every row of a list; nothing where the caller may not see it, and makes do without."""
    try:
        yield from api.pages(path)
    except RefusedError as error:
        if error.status != 403:
            raise
