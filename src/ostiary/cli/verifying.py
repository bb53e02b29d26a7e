"""`ostiary verify`: is this credential good, here and for this?"""

import sys
from typing import IO, Any, Final

import click

from ostiary.cli.profile import is_credential
from ostiary.cli.terminal import (
    MISSING,
    MisusedError,
    given,
    json_option,
    show_fields,
    show_json,
    when,
    with_client,
)
from ostiary.client.api import Client
from ostiary.core.check import given_text
from ostiary.core.model import KIND_NAMES

_WORDS: Final = {
    "malformed": "it is no whole credential; was all of it copied?",
    "unknown": "this service knows no such credential, or you may not ask about it",
    "expired": "it has expired",
    "revoked": "it has been revoked",
    "deactivated": "it is deactivated",
    "disabled": "its account is disabled or deleted, or its organization is suspended",
    "ip_not_allowed": "it may not be used from this address, or no address was given",
    "insufficient_scope": "it does not have all of these scopes",
    "project_not_allowed": "it may not be used on this project",
    "resource_not_allowed": "it may not be used on this resource",
    "wrong_audience": "it is meant for another audience",
    "rate_limited": "it was used too often in the last minute",
}
"""Why a credential is not valid, for each code of the API."""


@click.command("verify")
@click.argument("source", metavar="[-]", required=False)
@click.option("--file", type=click.File("rb"), metavar="FILE", help="Read the credential from this file.")
@click.option("--scope", "scopes", multiple=True, help="Must have this scope; may be given several times.")
@click.option("--project", help="Is it good on this project? An id or code.")
@click.option("--resource", help="Is it good for this resource, such as agents/a1?")
@click.option("--ip", metavar="ADDRESS", help="Is it good from this address?")
@click.option("--audience", help="Whom a token must be meant for, in place of this service.")
@click.option("--no-count", is_flag=True, help="Count no use: neither in statistics nor for the rate limit.")
@json_option
@with_client
def verify_command(
    api: Client,
    source: str | None,
    file: IO[bytes] | None,
    scopes: tuple[str, ...],
    project: str | None,
    resource: str | None,
    ip: str | None,
    audience: str | None,
    no_count: bool,
    as_json: bool,
) -> None:
    """Say whether a credential is valid, and why not. Exit 0 if it is, 1 if it is not.

    The credential is read from standard input or from --file, or asked for; it is never an argument. The one in use is
    who asks: it needs verify:credentials, and exit 4 says that it was refused itself.
    """
    if source not in (None, "-"):
        raise MisusedError(
            "A credential is no argument, where every process of this machine can read it.\n"
            "Hand it over on standard input, or name a file with --file."
        )
    asked = given(scopes=scopes, project=project, resource=resource, ip=ip, audience=audience)
    if no_count:
        asked["count"] = False
    found = api.request("POST", "/v1/verify", json={"credential": _credential(file)} | asked)
    valid, fields = found["valid"] is True, _fields(found)
    if as_json:
        show_json(found)
    else:
        show_fields(fields)
    if not valid:
        raise click.exceptions.Exit(1)


def _credential(file: IO[bytes] | None) -> str:
    """The credential that was handed over. MisusedError, which does not repeat it."""
    if file is None and sys.stdin.isatty():
        text = click.prompt("Credential (not shown)", hide_input=True, err=True)
    else:
        text = (sys.stdin.buffer if file is None else file).read().decode("utf-8", "replace")
    text = given_text(text)
    if not is_credential(text):
        raise MisusedError("There is no credential: the text is empty, or has white space or odd characters.")
    return text


def _fields(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """What is told of a verdict. Whether it is valid has to be there."""
    code, principal = found.get("code", MISSING), found.get("principal", {})
    verdict = "yes" if found["valid"] else f"no, {_WORDS.get(code, code)}"
    told: list[tuple[str, Any]] = [
        ("Valid", verdict),
        ("Code", code),
        ("Credential", lambda: found["credential_id"]),
    ]
    if found["valid"]:
        told += [
            ("Kind", lambda: KIND_NAMES.get(found["kind"], found["kind"])),
            ("Whose", lambda: f"{principal['display_name']} ({principal['username']}, {principal['id']})"),
            ("Organization", lambda: found["organization"]),
            ("Project", lambda: found["project"]),
            ("Scopes", lambda: found["scopes"] or "none"),
            ("Expires", lambda: when(found["expires_at"]) or "never"),
        ]
    if limit := found.get("rate_limit"):
        told.append(("Rate limit", lambda: _left(limit)))
    if old := found.get("rotation"):
        told.append(("Replaced", lambda: _replaced(old)))
    return told


def _left(limit: dict[str, Any]) -> str:
    return (
        f"{limit['remaining']} of {limit['limit']} uses a minute are left; all of them in {limit['reset']} s"
    )


def _replaced(old: dict[str, Any]) -> str:
    until = old["ends_at"] or "the rotation is completed"
    return f"another secret has taken its place; this one is accepted until {until}"
