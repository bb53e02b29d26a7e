"""`ostiary oauth-token …` and `ostiary token …`"""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from ostiary.cli import environment
from ostiary.cli.connection import Connection, connect, connect_without_credential
from ostiary.cli.invocation import MisusedError, invocation
from ostiary.cli.profile import is_credential
from ostiary.cli.secret_request import hand_over, made_of
from ostiary.cli.service_options import context_option
from ostiary.cli.terminal import (
    Group,
    ago,
    json_option,
    printable,
    reading,
    show_fields,
    show_json,
    tell,
    when,
)
from ostiary.cli.token_source import TOKEN_PATH, trade
from ostiary.client.api import Client
from ostiary.core.check import given_text
from ostiary.core.secret import SESSION, looks_like_secret, parse

REVOKE_PATH: Final = "/oauth/token/revoke"
INTROSPECT_PATH: Final = "/oauth/introspect"

_SIGNED: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@click.group("oauth-token", cls=Group)
def oauth_token_command() -> None:
    """Exchange a credential for an access token."""


@oauth_token_command.command("generate")
@click.option("--scope", "scopes", multiple=True, help="Limit it to this scope; may be given several times.")
@click.option(
    "--resource",
    "resources",
    metavar="URL",
    multiple=True,
    help="Audience of the token (RFC 8707). Default: the service itself; may be given several times.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["plain", "env", "json"]),
    default="plain",
    show_default=True,
    help="plain: the token alone; env: a line for a .env file; json: the whole response.",
)
@json_option
@context_option
def generate(scopes: tuple[str, ...], resources: tuple[str, ...], form: str, as_json: bool) -> None:
    """Print an access token for the credential in use, on standard output.

    Without --scope, the token may do everything that the credential may do. It never outlives the credential.

    \b
    Example:
      TOKEN=$(ostiary oauth-token generate --scope read:agents)
    """
    used = _without_organization(connect(invocation()))
    assert used.proof is not None
    proof, asked = used.proof, datetime.now(UTC)

    def ask() -> dict[str, Any]:
        answer = trade(used.url, proof, " ".join(scopes) if scopes else None, resources)
        with reading(used.url):
            ends = (asked + timedelta(seconds=int(answer["expires_in"]))).isoformat(timespec="seconds")
            return answer | {"scope": str(answer["scope"]), "expires_at": ends.replace("+00:00", "Z")}

    def put(answer: dict[str, Any]) -> None:
        token, ends = printable(answer["access_token"]), answer["expires_at"]
        click.echo(f"Scope: {printable(answer['scope'])}. Expires {ago(ends)}, at {ends}.", err=True)
        if as_json or form == "json":
            show_json(answer)
        else:
            click.echo(f"{environment.TOKEN}={token}" if form == "env" else token)

    # A token authorizes its own revocation, so no other credential is needed (RFC 7009 §2.1).
    api = Client(used.url)
    hand_over(ask, lambda answer: made_of(api, TOKEN_PATH, answer), put)


@click.group("token", cls=Group)
def token_command() -> None:
    """Revoke and introspect access tokens."""


@token_command.command()
@click.argument("shown", metavar="TOKEN|-")
@json_option
@context_option
def revoke(shown: str, as_json: bool) -> None:
    """Revoke an access token or a session. No other credential is needed.

    With -, the token is read from standard input. Other processes can read an argument; that is acceptable here, because
    the token ends.

    \b
    Example:
      echo "$TOKEN" | ostiary token revoke -
    """
    used = _without_organization(connect_without_credential(invocation()))
    text = _prompted_token() if shown == "-" else _checked(shown.strip(), "TOKEN")
    api = used.client()
    # The response is the same whether a token was revoked or not (RFC 7009 §2.2). So first ask whether it is active.
    # Other kinds of credentials go to the service directly: it refuses them and says how to revoke them.
    active = False
    if text.startswith(SESSION) or not looks_like_secret(text):
        _check_whole(text)
        with reading(used.url):
            active = api.request("POST", INTROSPECT_PATH, {"token": text})["active"] is True
    api.request("POST", REVOKE_PATH, {"token": text})
    sentence = "The token is not valid: it is expired, already revoked, or not copied completely."
    tell({"revoked": active}, as_json, "Token revoked." if active else sentence)


@token_command.command()
@click.argument("source", metavar="[-]", required=False)
@json_option
@context_option
def introspect(source: str | None, as_json: bool) -> None:
    """Show whether a token is active, with its scope and expiry. Exits with 1 if it is not.

    The token is read from OSTIARY_TOKEN or, with -, from standard input.
    """
    if source not in (None, "-"):
        raise MisusedError(
            "Do not give the token as an argument: every process on this machine can read it there.\n"
            f"Set {environment.TOKEN}, or give the token on standard input with -."
        )
    used = _without_organization(connect_without_credential(invocation()))
    text = _prompted_token() if source else environment.token()
    if text is None:
        raise MisusedError(f"No token: set {environment.TOKEN}, or give one on standard input with -.")
    with reading(used.url):
        found = used.client().request("POST", INTROSPECT_PATH, {"token": text})
        active = found["active"] is True
        fields = [("Active", "yes" if active else "no"), *(_fields(found) if active else ())]
    if as_json:
        show_json(found)
    else:
        show_fields(fields)
    if not active:
        raise click.exceptions.Exit(1)


def _fields(found: dict[str, Any]) -> list[tuple[str, Any]]:
    ends = found.get("expires_at")
    text = None if ends is None else datetime.fromtimestamp(ends, UTC).isoformat().replace("+00:00", "Z")
    return [("Scope", lambda: found["scope"]), ("Expires", when(text) or "never")]


def _without_organization(used: Connection) -> Connection:
    """Return the connection. Prints a note if an organization is set, because it has no effect on tokens."""
    if used.organization is not None:
        click.echo(
            "Note: a token belongs to its credential's organization; the one that is set is ignored.",
            err=True,
        )
    return used


def _check_whole(text: str) -> None:
    """Raise MisusedError unless the text has the form of a signed token or a session."""
    if _SIGNED.fullmatch(text) is None and parse(text.encode(), (SESSION.encode(),)) is None:
        raise MisusedError("This is not a complete token.")


def _prompted_token() -> str:
    """Return a token from standard input, with a prompt on a terminal. Raises MisusedError."""
    if sys.stdin.isatty():
        text: str = click.prompt("Token (not shown)", hide_input=True, err=True)
    else:
        text = sys.stdin.read()
    return _checked(given_text(text), "Standard input")


def _checked(text: str, source: str) -> str:
    if not is_credential(text):
        raise MisusedError(f"{source} is not a token: it is empty, or has white space or invalid characters.")
    return text
