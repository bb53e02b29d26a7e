"""`ostiary context …`: named services in the profile, each with its credential."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from ostiary.cli import completion, environment, profile
from ostiary.cli.connection import Connection, checked_organization, chosen_name
from ostiary.cli.invocation import MisusedError, invocation
from ostiary.cli.profile import ProfileContext
from ostiary.cli.terminal import (
    Column,
    Group,
    confirm,
    json_option,
    printable,
    show_fields,
    show_json,
    show_table,
    yes_option,
)
from ostiary.cli.token_source import Key
from ostiary.client.api import NotOstiaryError, UrlError, check_url, is_safe
from ostiary.core.check import given_text
from ostiary.core.secret import ACCESS_ID_LENGTH, SECRET_LENGTH, parse, redact

name_argument = click.argument("name", metavar="NAME", shell_complete=completion.contexts)


@click.group("context", cls=Group)
def context_command() -> None:
    """Store services with their credentials, and choose one.

    A context has the URL of a service, a credential for it and, for operators, the organization to act in. Commands use
    the context that --context or OSTIARY_CONTEXT names, else the default context.
    """


@context_command.command("list")
@json_option
def list_contexts(as_json: bool) -> None:
    """List the contexts. Commands use the current one."""
    found = profile.load()
    if as_json:
        show_json([_as_json(each, found) for each in found.contexts.values()])
        return
    show_table(
        [
            [
                each.name,
                each.url or "none",
                each.organization or "",
                _credential(each),
                "yes" if each.name == _current(found) else "",
            ]
            for each in found.contexts.values()
        ],
        [
            Column("NAME"),
            Column("URL"),
            Column("ORGANIZATION", spare=2),
            Column("CREDENTIAL", spare=1),
            Column("CURRENT"),
        ],
        "No contexts yet. Store a service and a key for it; the command asks for the key:\n"
        "  ostiary context add prod --url https://keys.example.com",
    )
    _warn_of_environment()


@context_command.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=completion.contexts)
@json_option
def show(name: str | None, as_json: bool) -> None:
    """Show one context, or the current one. No secret is shown."""
    found = profile.load()
    wanted = name if name is not None else _current(found)
    if wanted is None:
        raise MisusedError("There is no current context.\n`ostiary context use NAME` chooses one.")
    context = found.find(wanted)
    if as_json:
        show_json(_as_json(context, found))
        return
    show_fields(
        [
            ("Name", context.name),
            ("URL", context.url or "none"),
            ("Organization", context.organization or "that of the credential"),
            ("Credential", _credential(context)),
            ("Current", "yes" if wanted == _current(found) else "no"),
            ("File", str(profile.profile_path())),
        ]
    )
    _warn_of_environment()


@context_command.command()
@name_argument
@json_option
def use(name: str, as_json: bool) -> None:
    """Make a context the default for all commands."""
    profile.choose(name)
    if as_json:
        show_json({"default": name})
        return
    click.echo(f"Commands use {printable(name)} from now on.")
    _warn_of_environment()


@context_command.command()
@click.argument("name", metavar="NAME")
@click.option("--url", required=True, help="URL of the service, such as https://keys.example.com.")
@click.option("--organization", metavar="ORG", help="Act in this organization, by id; for operator admins.")
@click.option(
    "--api-key-file",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the key from this file at every use. Default: a prompt, or standard input, stored in the context.",
)
@click.option("--replace", is_flag=True, help="Replace an existing context with this name completely.")
@click.option("--no-check", is_flag=True, help="Do not check the key at the service.")
@json_option
def add(
    name: str,
    url: str,
    organization: str | None,
    file: Path | None,
    replace: bool,
    no_check: bool,
    as_json: bool,
) -> None:
    """Store a service and an API key for it. The first context becomes the default.

    \b
    Example:
      ostiary context add prod --url https://keys.example.com
    """
    if profile.NAME.fullmatch(name) is None:
        raise MisusedError(
            "NAME must be 1 to 63 letters, digits, dots, dashes and underscores, such as prod."
        )
    if name in profile.load().contexts and not replace:
        raise MisusedError(f"The context {name} exists already. --replace replaces it completely.")
    _check_url(url)
    if organization is not None:
        checked_organization(organization, "--organization")
    if file is not None:
        file = file.absolute()
        key = profile.read_key_file(file)
        context = ProfileContext(name, url, organization, api_key_file=str(file))
    else:
        key = _prompted_key()
        context = ProfileContext(name, url, organization, api_key=key)
    principal = None if no_check else _identify(context, key)
    profile.put(context)
    found = profile.load()
    if as_json:
        show_json(_as_json(context, found) | {"principal": principal})
        return
    who = f": {principal['display_name']} ({principal['id']}) at {url}" if principal else ""
    click.echo(printable(f"{name} is stored{who}."))
    if found.default != name:
        click.echo(f"`ostiary context use {name}` makes it the default.", err=True)
    _warn_of_environment()


@context_command.command()
@name_argument
@yes_option
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove a context with its key from the profile. The key itself keeps working."""
    context = profile.load().find(name)
    confirm(yes, lambda: f"Remove {name}, with {_credential(context)}?")
    profile.remove(name)
    if as_json:
        show_json({"removed": name})
        return
    click.echo(f"{printable(name)} is removed.")
    if context.has_credential:
        click.echo("Its key still works. `ostiary credential revoke` revokes it.", err=True)


def _check_url(url: str) -> None:
    try:
        check_url(url)
    except UrlError as error:
        raise MisusedError(f"--url {error}.") from None
    if not is_safe(url):
        raise MisusedError(
            "--url is neither https nor on this machine, so the credential would be sent unencrypted.\n"
            "Give the https:// URL of the service."
        )


def _prompted_key() -> str:
    if sys.stdin.isatty():
        key: str = click.prompt("API key (not shown)", hide_input=True, err=True)
    else:
        key = sys.stdin.read()
    key = given_text(key)
    if not profile.is_credential(key):
        raise MisusedError(
            "Standard input has no key.\nPipe the key in, or name a file that contains it: --api-key-file FILE."
        )
    return key


def _identify(context: ProfileContext, key: str) -> dict[str, Any]:
    """Return the id and display name of the key's owner, from the service. Raises if it refuses or does not respond."""
    assert context.url is not None
    used = Connection(
        context.url,
        "--url",
        Key(key),
        "the key that was given",
        f"The service does not know this key. {context.name} is not stored.",
    )
    invocation().connection = used
    try:
        principal: dict[str, Any] = used.client().request("GET", "/v1/capabilities")["principal"]
        return {"id": str(principal["id"]), "display_name": str(principal["display_name"])}
    except (KeyError, TypeError):
        raise NotOstiaryError(f"{context.url} answers, but not as this version of Ostiary does.") from None


def _current(found: profile.Profile) -> str | None:
    return chosen_name(invocation()) or found.default


def _credential(context: ProfileContext) -> str:
    """Return a description of the context's credential, without its secret."""
    if context.api_key_file is not None:
        return f"file {context.api_key_file}"
    if context.api_key is None:
        return (
            "no credential"
            if context.client_secret is None
            else f"client {context.client_id or 'without id'}"
        )
    key = context.api_key.encode()
    whole = parse(key, (key[: -(ACCESS_ID_LENGTH + SECRET_LENGTH)],)) is not None
    return redact(context.api_key) if whole else "a credential of another form"


def _as_json(context: ProfileContext, found: profile.Profile) -> dict[str, Any]:
    return {
        "name": context.name,
        "url": context.url,
        "organization": context.organization,
        "credential": _credential(context)
        if context.has_credential and context.api_key_file is None
        else None,
        "api_key_file": context.api_key_file,
        "current": context.name == _current(found),
    }


def _warn_of_environment() -> None:
    """Print a note if environment variables override the default context."""
    found = [name for name in ("OSTIARY_URL", *environment.NAMES) if os.environ.get(name)]
    if found:
        click.echo(
            f"Note: {' and '.join(found)} {'is' if len(found) == 1 else 'are'} set and "
            f"{'overrides' if len(found) == 1 else 'override'} the default context; --context NAME overrides both.",
            err=True,
        )
