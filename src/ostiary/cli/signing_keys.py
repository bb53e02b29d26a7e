"""`ostiary keys …`: the keys that sign tokens, in the data directory. A running service uses a change at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ostiary.cli.local import load, settings_options
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    confirm,
    json_option,
    printable,
    show_json,
    show_list,
    tell,
    yes_option,
)
from ostiary.core.instant import text_or_none, to_text

if TYPE_CHECKING:
    from ostiary.core.signing import SigningKey

PURPOSES = ("access_token", "assertion", "m2m")


@click.group("keys", cls=Group)
def keys_command() -> None:
    """List, rotate and revoke the keys that sign tokens.

    These commands use the data directory. They are safe while the service runs.
    """


@keys_command.command("list")
@settings_options
@json_option
def list_keys(file: Path | None, data: Path | None, as_json: bool) -> None:
    """List the signing keys, newest first: purpose, first use, and until when their signatures are accepted."""
    from ostiary.node.signing_keys import opened_keys

    with opened_keys(load(file, data=data).settings) as keys:
        found = [_as_json(key, state) for key, state in keys.list_all()]
    show_list(
        found,
        as_json,
        [
            Column("KID", "kid"),
            Column("PURPOSE", "purpose"),
            Column("ALGORITHM", "algorithm", spare=1),
            Column("STATE", "state"),
            Column("SIGNS FROM", lambda key: ago(key["signs_from"]), spare=2),
            Column("ACCEPTED UNTIL", lambda key: ago(key["believed_until"]) if key["believed_until"] else ""),
        ],
        "No signing keys yet. `ostiary serve` creates them when it starts.",
    )


@keys_command.command()
@settings_options
@click.option(
    "--purpose",
    "purposes",
    type=click.Choice(PURPOSES),
    multiple=True,
    help="Rotate only the key for this purpose; may be given several times.",
)
@click.option(
    "--now",
    "at_once",
    is_flag=True,
    help="Sign with the new keys at once, without waiting until verifiers can have fetched them.",
)
@json_option
def rotate(
    file: Path | None, data: Path | None, purposes: tuple[Any, ...], at_once: bool, as_json: bool
) -> None:
    """Replace the signing keys with new ones. Tokens signed by the old keys stay valid until they expire."""
    from ostiary.node.signing_keys import opened_keys

    with opened_keys(load(file, data=data).settings) as keys:
        made = [_as_json(key, None) for key in keys.rotate(purposes or PURPOSES, at_once)]
    if as_json:
        show_json(made)
        return
    for key in made:
        click.echo(printable(f"{key['kid']} signs {key['purpose']} from {key['signs_from']} on."))


@keys_command.command()
@click.argument("kid", metavar="KID")
@settings_options
@yes_option
@json_option
def revoke(kid: str, file: Path | None, data: Path | None, yes: bool, as_json: bool) -> None:
    """Revoke a signing key at once and permanently. Everything that it signed is refused.

    Use this if a private key has leaked. If the key was in use, a new one replaces it.
    """
    from ostiary.core.problem import not_found
    from ostiary.node.signing_keys import opened_keys

    with opened_keys(load(file, data=data).settings) as keys:
        key = keys.find(kid)
        if key is None:
            raise not_found("signing key")
        confirm(yes, lambda: f"Revoke {kid}? Every {key.purpose} that it signed will be refused.")
        made = keys.revoke(key)
    successor = None if made is None else made.kid
    instead = "" if made is None else f" {made.kid} signs from now on."
    tell({"revoked": kid, "successor": successor}, as_json, f"{kid} is revoked.{instead}")


def _as_json(key: "SigningKey", state: str | None) -> dict[str, Any]:
    fields = {
        "kid": key.kid,
        "purpose": key.purpose,
        "algorithm": key.algorithm,
        "state": state,
        "created_at": to_text(key.created_at),
        "signs_from": to_text(key.signs_from),
        "believed_until": text_or_none(key.believed_until),
        "revoked_at": text_or_none(key.revoked_at),
    }
    if state is None:
        del fields["state"]
    return fields
