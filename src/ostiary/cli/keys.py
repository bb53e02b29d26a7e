"""`ostiary api-key …` and `ostiary credential …`"""

import json
from typing import Any

import click

from ostiary.cli import completion
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
    segment,
    show_fields,
    show_json,
    show_list,
    show_one,
    tell,
    when,
    with_client,
    yes_option,
)
from ostiary.client.api import Client

credential_argument = click.argument("credential", metavar="ID", shell_complete=completion.credentials)
ips_option = click.option(
    "--ip", "ips", multiple=True, help="Limit it to this address or range; may be given several times."
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["plain", "env", "json", "toml"]),
    default="plain",
    show_default=True,
    help="The key alone, a line for a .env file, the whole answer, or TOML.",
)


@click.group("api-key", cls=Group)
def api_key_command() -> None:
    """Generate API keys."""


@api_key_command.command()
@click.option(
    "--service-account",
    "account",
    metavar="ACCOUNT",
    shell_complete=completion.accounts,
    help="Whose key; without it, your own direct key.",
)
@click.option("--name", help="To tell it from others.")
@scopes_option
@resources_option
@ips_option
@click.option("--project", help="Bind it to one project, by id or code.")
@click.option(
    "--expires",
    metavar="WHEN",
    help="90d, a date (UTC) or a time; without it never, unless a policy says so.",
)
@format_option
@json_option
@with_client
def generate(
    api: Client,
    account: str | None,
    name: str | None,
    scopes: tuple[str, ...],
    resources: tuple[str, ...],
    ips: tuple[str, ...],
    project: str | None,
    expires: str | None,
    form: str,
    as_json: bool,
) -> None:
    """Generate an API key. It is printed on standard output, alone and only now."""
    body = given(
        name=name,
        scopes=scopes,
        resources=resources,
        allowed_ips=ips,
        project=project,
        expires_at=None if expires is None else moment("--expires", expires, 1),
    )
    if account is None:
        made = api.request("POST", "/v1/api-keys", json=body)
    else:
        address = f"/v1/service-accounts/{find_account(api, account)}/credentials"
        made = api.request("POST", address, json={"kind": "api_key", **body})
    _show_key(api, made, "json" if as_json else form)


def _show_key(api: Client, made: dict[str, Any], form: str) -> None:
    """A new key, alone on standard output or in the form asked for; what else there is to know beside it."""
    credential, key = made["credential"], printable(made["secret"])
    if form == "json":
        show_json(made)
    elif form == "env":
        click.echo(f"OSTIARY_API_KEY={key}")
    elif form == "toml":
        # A JSON string is a TOML string.
        for name, value in (("url", api.url), ("credential_id", credential["id"]), ("api_key", key)):
            click.echo(("[ostiary]\n" if name == "url" else "") + f"{name} = {json.dumps(value)}")
    else:
        click.echo(key)
    expires_text = f", expires {credential['expires_at']}" if credential["expires_at"] else ""
    note = f"{credential['id']} ({_end(credential)}){expires_text}. Store it now: it is not shown again."
    click.echo(printable(note), err=True)


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
@json_option
@with_client
def list_credentials(api: Client, account: str | None, status: str | None, as_json: bool) -> None:
    """List credentials, newest first."""
    address = "/v1/credentials"
    if account is not None:
        address = f"/v1/service-accounts/{find_account(api, account)}/credentials"
    found = [
        each for each in api.pages(address, {"limit": 200}) if status is None or each["status"] == status
    ]
    show_list(
        found,
        as_json,
        [
            Column("ID", "id", whole=True),
            Column("NAME", "name"),
            Column("KEY", _end, whole=True),
            Column("STATUS", "status", whole=True),
            Column("OWNER", lambda each: each["owner"]["display_name"], spare=2),
            Column("LAST USED", lambda each: ago(each["last_used_at"]), whole=True, spare=1),
            Column("EXPIRES", lambda each: ago(each["expires_at"]), whole=True, spare=3),
            Column("CREATED", lambda each: ago(each["created_at"]), whole=True, spare=4),
        ],
        "No credentials match."
        if status
        else "No credentials. Make one:\n  ostiary api-key generate "
        f"--service-account {printable(account or 'ACCOUNT')}",
    )


@credential_command.command()
@credential_argument
@json_option
@with_client
def show(api: Client, credential: str, as_json: bool) -> None:
    """Show one credential; its secret is shown nowhere any more."""
    show_one(api.request("GET", _address(credential)), as_json, _fields)


@credential_command.command()
@credential_argument
@click.option("--name", help="To tell it from others.")
@description_option
@click.option("--expires", metavar="WHEN", help="90d, or a time; `never` takes an expiry away.")
@ips_option
@level_option
@scopes_option
@resources_option
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
    )
    if expires == "never":
        body["expires_at"] = None
    show_one(api.request("PATCH", _address(credential), json=body), as_json, _fields)


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
    confirm(yes, lambda: f"Revoke {_described(api, credential)} for good?")
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
        _address(credential),
        credential,
        as_json,
        yes,
        lambda: f"Delete {_described(api, credential)} for good?",
        f"{credential} is deleted. Its trace stays in the audit log.",
    )


def _set(api: Client, credential: str, verb: str, as_json: bool) -> None:
    changed = api.request("POST", f"{_address(credential)}/{verb}")
    tell(changed, as_json, f"{changed['name']} ({_end(changed)}) is {changed['status']}.")


@credential_command.command()
@credential_argument
@click.option(
    "--overlap",
    metavar="LENGTH",
    help="How long the old key is accepted, such as 24h, up to 30d; 0: ends now.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    help="A new expiry: 90d, a date (UTC) or a time; without it the expiry stays.",
)
@format_option
@json_option
@with_client
def rotate(
    api: Client, credential: str, overlap: str | None, expires: str | None, form: str, as_json: bool
) -> None:
    """Give a credential a new key; the old one is accepted for the overlap, or until `rotation complete`.

    The new key is printed on standard output, alone and only now.
    """
    expires_at = None if expires is None else moment("--expires", expires, 1)
    body = given(overlap=overlap, expires_at=expires_at)
    made = api.request("POST", f"{_address(credential)}/rotate", json=body)
    _show_key(api, made, "json" if as_json else form)
    old = made["credential"]["rotation"]
    note = "The old key is not accepted any more."
    if old is not None:
        until = old["ends_at"] or f"you run: ostiary credential rotation complete {credential}"
        note = f"The old key is accepted until {until}"
    click.echo(printable(note), err=True)


@credential_command.group(cls=Group)
def rotation() -> None:
    """Follow a rotation, complete or cancel it."""


@rotation.command("show")
@credential_argument
@json_option
@with_client
def show_rotation(api: Client, credential: str, as_json: bool) -> None:
    """Show how both keys are used, and whether the old one may go."""
    _tell_rotation(api.request("GET", f"{_address(credential)}/rotation"), as_json)


@rotation.command()
@credential_argument
@yes_option
@json_option
@with_client
def complete(api: Client, credential: str, yes: bool, as_json: bool) -> None:
    """End the old key now."""
    address = f"{_address(credential)}/rotation"

    def question() -> str:
        found = api.request("GET", address)
        if not found["safe_to_revoke"] and found["state"] == "overlap":
            click.echo(f"Not yet safe: {_reasons(found)}.", err=True)
        return f"End the old key of {_described(api, credential)} for good?"

    confirm(yes, question)
    _tell_rotation(api.request("POST", address, json={"action": "complete"}), as_json)


@rotation.command()
@credential_argument
@yes_option
@json_option
@with_client
def cancel(api: Client, credential: str, yes: bool, as_json: bool) -> None:
    """End the new key now and keep the old one."""
    confirm(yes, lambda: f"End the new key of {_described(api, credential)} for good?")
    address = f"{_address(credential)}/rotation"
    _tell_rotation(api.request("POST", address, json={"action": "cancel"}), as_json)


_REASONS = {
    "new_never_used": "the new key has never been used",
    "old_used_recently": "the old key was used in the last 24 hours",
    "watched_too_briefly": "the rotation is younger than 24 hours, so silence says little",
}


def _reasons(found: dict[str, Any]) -> str:
    return "; ".join(_REASONS.get(each, each) for each in found["reasons"])


def _tell_rotation(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    states = {
        "none": "never rotated",
        "overlap": "under way: both keys are accepted",
        "completed": "completed: the old key has ended",
        "cancelled": "cancelled: the new key has ended, the old one stays",
    }
    fields = [("State", states.get(found["state"], found["state"]))]
    for name in ("old", "new"):
        each = found[name]
        if each is not None:
            used = (
                f"used {each['uses']} time{'' if each['uses'] == 1 else 's'}, last {ago(each['last_used_at'])}"
                if each["uses"]
                else "never used"
            )
            told = [f"{_end(each)} {used}"]
            if each["ended_at"]:
                told.append(f"ended {when(each['ended_at'])}")
            elif each["ends_at"]:
                told.append(f"accepted until {when(each['ends_at'])}")
            fields.append((f"{name.title()} key", ", ".join(told)))
    if found["state"] == "overlap":
        verdict = "yes" if found["safe_to_revoke"] else f"not yet: {_reasons(found)}"
        fields.append(("Safe to end the old key", verdict))
    show_fields(fields)


def _old(rotation: dict[str, Any] | None) -> str | None:
    if rotation is None:
        return None
    end = _end({"last6": rotation["previous_last6"]})
    return f"{end}, accepted until {rotation['ends_at'] or 'completed'}"


def _end(key: dict[str, Any]) -> str:
    """What tells a key from others: its last characters, which nobody knows of an imported one."""
    return f"…{key['last6']}" if key["last6"] else "imported"


def _fields(credential: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Name", credential["name"]),
        ("ID", credential["id"]),
        ("Kind", credential["kind"]),
        ("Key", credential["display"]),
        ("Owner", f"{credential['owner']['display_name']} ({credential['owner']['id']})"),
        ("Status", credential["status"]),
        ("Description", credential["description"]),
        ("Access level", credential["access_level"]),
        ("Scopes", credential["scopes"]),
        ("Resources", credential["resources"]),
        ("Allowed addresses", credential["allowed_ips"] or "everywhere"),
        ("Project", credential["project"]),
        ("Created", when(credential["created_at"])),
        ("Last used", ago(credential["last_used_at"])),
        ("Expires", when(credential["expires_at"]) or "never"),
        ("Rotated", when(credential["rotated_at"])),
        ("Old key", _old(credential["rotation"])),
        ("Revoked", when(credential["revoked_at"])),
    ]


def _described(api: Client, credential: str) -> str:
    """What a person recognises it by, before it goes for good."""
    found = api.request("GET", _address(credential))
    return f"{found['name']} ({_end(found)}) of {found['owner']['display_name']}"


def _address(credential: str) -> str:
    return f"/v1/credentials/{segment(credential)}"
