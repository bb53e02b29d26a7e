"""`ostiary verify`: checks whether a credential is valid, and why not."""

import sys
from typing import IO, Any, Final

import click

from ostiary.cli.invocation import MisusedError
from ostiary.cli.profile import is_credential
from ostiary.cli.terminal import MISSING, given, json_option, show_fields, show_json, when, with_client
from ostiary.client.api import Client
from ostiary.core.check import given_text
from ostiary.core.model import KIND_NAMES

_WORDS: Final = {
    "malformed": "it is not a complete credential; check that you copied all of it",
    "unknown": "this service does not know it, or you may not verify it",
    "expired": "it has expired",
    "revoked": "it has been revoked",
    "deactivated": "it is deactivated",
    "disabled": "its account is disabled or deleted, or its organization is suspended",
    "ip_not_allowed": "it may not be used from this address, or no address was given",
    "insufficient_scope": "it does not have all requested scopes",
    "project_not_allowed": "it may not be used on this project",
    "resource_not_allowed": "it may not be used on this resource",
    "wrong_audience": "it was issued for another audience",
    "rate_limited": "it was used too often in the last minute",
}
"""Explanations of the API's codes for credentials that are not valid."""


@click.command("verify")
@click.argument("source", metavar="[-]", required=False)
@click.option("--file", type=click.File("rb"), metavar="FILE", help="Read the credential from this file.")
@click.option("--scope", "scopes", multiple=True, help="Require this scope; may be given several times.")
@click.option("--project", help="Check access to this project, by id or code.")
@click.option("--resource", help="Check access to this resource, such as agents/a1.")
@click.option("--ip", metavar="ADDRESS", help="Check for a request from this IP address.")
@click.option("--audience", help="Required audience of a token. Default: this service.")
@click.option("--no-count", is_flag=True, help="Do not count this as a use, in usage or for the rate limit.")
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
    """Check whether a credential is valid, and why not. Exits with 0 if it is, with 1 if it is not.

    The credential is read from standard input, from --file, or from a prompt; never give it as an argument. Your own
    credential needs the scope verify:credentials. Exit code 4 means that your own credential was refused.

    \b
    Example:
      echo "$KEY" | ostiary verify --scope read:agents --ip 203.0.113.7
    """
    if source not in (None, "-"):
        raise MisusedError(
            "Do not give the credential as an argument: every process on this machine can read it there.\n"
            "Give it on standard input, or name a file with --file."
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
    """Return the credential to verify. Raises MisusedError, without the text."""
    if file is None and sys.stdin.isatty():
        text = click.prompt("Credential (not shown)", hide_input=True, err=True)
    else:
        text = (sys.stdin.buffer if file is None else file).read().decode("utf-8", "replace")
    text = given_text(text)
    if not is_credential(text):
        raise MisusedError("This is not a credential: it is empty, or has white space or invalid characters.")
    return text


def _fields(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """What is told of a verdict. Whether it is valid has to be there."""
    code, principal = found.get("code", MISSING), found.get("principal", {})
    verdict = "yes" if found["valid"] else f"no, {_WORDS.get(code, code)}"
    fields: list[tuple[str, Any]] = [
        ("Valid", verdict),
        ("Code", code),
        ("Credential", lambda: found["credential_id"]),
    ]
    if found["valid"]:
        fields += [
            ("Kind", lambda: KIND_NAMES.get(found["kind"], found["kind"])),
            ("Owner", lambda: f"{principal['display_name']} ({principal['username']}, {principal['id']})"),
            ("Organization", lambda: found["organization"]),
            ("Project", lambda: found["project"]),
            ("Scopes", lambda: found["scopes"] or "none"),
            ("Expires", lambda: when(found["expires_at"]) or "never"),
        ]
    if limit := found.get("rate_limit"):
        fields.append(("Rate limit", lambda: _left(limit)))
    if old := found.get("rotation"):
        fields.append(("Replaced", lambda: _replaced(old)))
    return fields


def _left(limit: dict[str, Any]) -> str:
    return f"{limit['remaining']} of {limit['limit']} uses per minute are left; resets in {limit['reset']} s"


def _replaced(old: dict[str, Any]) -> str:
    until = old["ends_at"] or "the rotation is completed"
    return f"a new secret replaces it; this one is accepted until {until}"
