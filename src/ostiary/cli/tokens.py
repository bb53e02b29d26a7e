"""`ostiary oauth-token …` and `ostiary token …`"""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from ostiary.cli import environment
from ostiary.cli.connection import Connection, connect, reach
from ostiary.cli.invocation import context_option, invocation
from ostiary.cli.profile import is_credential
from ostiary.cli.proving import TOKEN_PATH, trade
from ostiary.cli.terminal import (
    Group,
    MisusedError,
    ago,
    json_option,
    printable,
    reading,
    show_fields,
    show_json,
    tell,
    when,
)
from ostiary.cli.undo import hand_over, made_of
from ostiary.client.api import Client
from ostiary.core.check import given_text
from ostiary.core.secret import SESSION, looks_like_secret, parse

REVOKE_PATH: Final = "/oauth/token/revoke"
INTROSPECT_PATH: Final = "/oauth/introspect"

_SIGNED: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@click.group("oauth-token", cls=Group)
def oauth_token_command() -> None:
    """Trade a credential for an access token."""


@oauth_token_command.command("generate")
@click.option("--scope", "scopes", multiple=True, help="Limit it to this scope; may be given several times.")
@click.option(
    "--resource",
    "resources",
    metavar="URL",
    multiple=True,
    help="Whom it is meant for, in place of the service itself; may be given several times.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["plain", "env", "json"]),
    default="plain",
    show_default=True,
    help="The token alone, a line for a .env file, or the whole answer.",
)
@json_option
@context_option
def generate(scopes: tuple[str, ...], resources: tuple[str, ...], form: str, as_json: bool) -> None:
    """Get an access token for the credential in use. It is printed on standard output, alone.

    Without --scope it may do all that the credential may; it never outlives it.
    """
    used = _at_home(connect(invocation()))
    assert used.proof is not None
    proof, asked = used.proof, datetime.now(UTC)

    def ask() -> dict[str, Any]:
        answer = trade(used.url, proof, " ".join(scopes) if scopes else None, resources)
        with reading(used.url):
            ends = (asked + timedelta(seconds=int(answer["expires_in"]))).isoformat(timespec="seconds")
            return answer | {"scope": str(answer["scope"]), "expires_at": ends.replace("+00:00", "Z")}

    def put(answer: dict[str, Any]) -> None:
        token, ends = printable(answer["access_token"]), answer["expires_at"]
        click.echo(f"For {printable(answer['scope'])}; expires {ago(ends)}, at {ends}.", err=True)
        if as_json or form == "json":
            show_json(answer)
        else:
            click.echo(f"{environment.TOKEN}={token}" if form == "env" else token)

    # The token is asked about and revoked by itself: no other credential is needed (RFC 7009 §2.1).
    api = Client(used.url)
    hand_over(ask, lambda answer: made_of(api, TOKEN_PATH, answer), put)


@click.group("token", cls=Group)
def token_command() -> None:
    """Revoke access tokens, and ask what one is worth."""


@token_command.command()
@click.argument("shown", metavar="TOKEN|-")
@json_option
@context_option
def revoke(shown: str, as_json: bool) -> None:
    """Revoke an access token, or a session. No other credential is needed.

    With - it is read from standard input. As an argument others on this machine can read it; it ends with that.
    """
    used = _at_home(reach(invocation()))
    text = _asked() if shown == "-" else _checked(shown.strip(), "TOKEN")
    api = used.client()
    # The service answers the same whether it ended something or not (RFC 7009 §2.2): so ask first what there is to end.
    # It refuses other credentials, and says how those are ended.
    active = False
    if text.startswith(SESSION) or not looks_like_secret(text):
        _check_whole(text)
        with reading(used.url):
            active = api.request("POST", INTROSPECT_PATH, {"token": text})["active"] is True
    api.request("POST", REVOKE_PATH, {"token": text})
    sentence = "Nothing accepts this text: it is expired, already ended, or was not copied whole."
    tell({"revoked": active}, as_json, "Token revoked." if active else sentence)


@token_command.command()
@click.argument("source", metavar="[-]", required=False)
@json_option
@context_option
def introspect(source: str | None, as_json: bool) -> None:
    """Say what the token of OSTIARY_TOKEN is worth, or with - that on standard input. Exit 1 if it is worth nothing."""
    if source not in (None, "-"):
        raise MisusedError(
            "A token is no argument here, where every process of this machine can read it.\n"
            f"Put it into {environment.TOKEN}, or hand it over on standard input with -."
        )
    used = _at_home(reach(invocation()))
    text = _asked() if source else environment.token()
    if text is None:
        raise MisusedError(f"No token: set {environment.TOKEN}, or hand one over on standard input with -.")
    with reading(used.url):
        found = used.client().request("POST", INTROSPECT_PATH, {"token": text})
        active = found["active"] is True
        fields = [("Active", "yes" if active else "no"), *(_told(found) if active else ())]
    if as_json:
        show_json(found)
    else:
        show_fields(fields)
    if not active:
        raise click.exceptions.Exit(1)


def _told(found: dict[str, Any]) -> list[tuple[str, Any]]:
    ends = found.get("expires_at")
    text = None if ends is None else datetime.fromtimestamp(ends, UTC).isoformat().replace("+00:00", "Z")
    return [("Scope", lambda: found["scope"]), ("Expires", when(text) or "never")]


def _at_home(used: Connection) -> Connection:
    """The same; whoever set an organization to act in reads that it means nothing here."""
    if used.organization is not None:
        click.echo("A token belongs to its credential's own organization.", err=True)
    return used


def _check_whole(text: str) -> None:
    """MisusedError unless it has the form of a signed token or a session."""
    if _SIGNED.fullmatch(text) is None and parse(text.encode(), (SESSION.encode(),)) is None:
        raise MisusedError("This is no whole token.")


def _asked() -> str:
    """A token from standard input; a person is asked for it."""
    if sys.stdin.isatty():
        text: str = click.prompt("Token (not shown)", hide_input=True, err=True)
    else:
        text = sys.stdin.read()
    return _checked(given_text(text), "Standard input")


def _checked(text: str, source: str) -> str:
    if not is_credential(text):
        raise MisusedError(f"{source} holds no token: it is empty, or has white space or odd characters.")
    return text
