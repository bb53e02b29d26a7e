"""Output of a new secret: once, on standard output in the chosen format, or in a key file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ostiary.cli.invocation import MisusedError
from ostiary.cli.new_file import new_file
from ostiary.cli.secret_request import create
from ostiary.cli.terminal import printable, segment, show_json
from ostiary.client.api import Client
from ostiary.core.configuration_file import EVERY_PROJECT, Context, configuration, toml_string

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["plain", "env", "json", "toml"]),
    default="plain",
    show_default=True,
    help="plain: the secret alone; env: lines for a .env file; json: the whole response; toml: a configuration file.",
)


class _NewFile(click.Path):
    """The name of a new file. `-` is refused, because a key file is never printed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-":
            raise MisusedError("--out must be the name of a file. A key file is never printed.")
        return super().convert(value, param, ctx)


def out_option(required: bool, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--out FILE`, the name of a new key file."""
    return click.option("--out", required=required, metavar="FILE", type=_NewFile(path_type=Path), help=text)


def context_of(api: Client, account: str, project: str | None) -> Context:
    """Return the facts about a service account for a TOML configuration.

    Call this before the secret is created: a failure afterwards would lose the secret. `project` is the id or code of
    the project that the secret is for.
    """
    found = api.request("GET", f"/v1/service-accounts/{account}")
    code = EVERY_PROJECT
    if project is not None:
        code = api.request("GET", f"/v1/projects/{segment(project)}")["code"]
    # `<username>@<organization slug>.<host>`
    slug = found["channel_identifier"].partition("@")[2].partition(".")[0]
    issuer = api.request("GET", "/.well-known/oauth-authorization-server")["issuer"]
    return Context(found["username"], found["client_id"], slug, code, api.url, issuer)


def make_secret(
    api: Client, path: str, body: Any, form: str, context: Context | None = None
) -> dict[str, Any]:
    """Create an API key or client secret by a POST and print it in this format. Return the response.

    A note on standard error says first what was created. The format toml needs `context` for a client secret.
    """

    def put(made: dict[str, Any]) -> None:
        credential, secret = made["credential"], made["secret"]
        if form == "json" or not isinstance(secret, str):
            show_json(made)
        elif credential["kind"] == "client_secret":
            _show_client_secret(api, credential, printable(secret), form, context)
        else:
            _show_key(api, credential, printable(secret), form)

    made: dict[str, Any] = create(
        api,
        path,
        body,
        put,
        lambda made: note(made["credential"], "Store it now: it is not shown again."),
    )
    return made


def _show_key(api: Client, credential: dict[str, Any], key: str, form: str) -> None:
    if form == "env":
        click.echo(f"OSTIARY_API_KEY={key}")
    elif form == "toml":
        click.echo("[ostiary]")
        for name, value in (("url", api.url), ("credential_id", credential["id"]), ("api_key", key)):
            click.echo(f"{name} = {toml_string(value)}")
    else:
        click.echo(key)


def _show_client_secret(
    api: Client, credential: dict[str, Any], secret: str, form: str, context: Context | None
) -> None:
    if form == "env":
        click.echo(f"OSTIARY_CLIENT_ID={printable(credential['client_id'])}")
        click.echo(f"OSTIARY_CLIENT_SECRET={secret}")
        click.echo(f"OSTIARY_URL={api.url}")
    elif form == "toml" and context is not None:
        click.echo(configuration(replace(context, client_id=credential["client_id"]), secret), nl=False)
    else:
        click.echo(secret)


def save_key_file(api: Client, address: str, body: Any, path: Path) -> dict[str, Any]:
    """Create a key file by a POST and write it to `path`. Return the response without the key.

    Before the POST, this checks that the file can be written. The key is only in the response: if writing fails, the
    key is revoked.
    """

    def write(made: dict[str, Any]) -> None:
        file.write(json.dumps(made.pop("secret"), indent=2, ensure_ascii=False) + "\n")
        finish()

    with new_file(path) as (file, finish):
        made: dict[str, Any] = create(api, address, body, write)
    return made


def show_key_file(made: dict[str, Any], path: Path, as_json: bool) -> None:
    """Print the path of a key file and the id of its key, but not the key."""
    note(made["credential"], "The key is in the file and nowhere else.")
    if as_json:
        show_json(made | {"file": str(path)})
        return
    click.echo(f"Key File: {printable(str(path))}")
    click.echo(f"Key ID: {printable(made['credential']['access_id'])}")


def note(credential: dict[str, Any], advice: str) -> None:
    """Print a note about a new credential on standard error, where scripts do not read it."""
    expires_text = f", expires {credential['expires_at']}" if credential["expires_at"] else ""
    limits = "full access" if credential["access_level"] == "full" else "only the listed scopes"
    whose = f"{ending(credential)} of {credential['owner']['display_name']}, {limits}"
    click.echo(printable(f"{credential['id']} ({whose}){expires_text}. {advice}"), err=True)


def ending(key: dict[str, Any]) -> str:
    """Return `…` and the last characters of a key, or `imported` for a key whose characters are unknown."""
    return f"…{key['last6']}" if key["last6"] else "imported"
