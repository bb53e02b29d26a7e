"""`ostiary credential rotate` and `ostiary credential rotation …`"""

from pathlib import Path
from typing import Any

import click

from ostiary.cli.credential_lookup import address_of, described, named, with_credential
from ostiary.cli.invocation import again
from ostiary.cli.secret_output import (
    context_of,
    ending,
    format_option,
    make_secret,
    out_option,
    save_key_file,
    show_key_file,
)
from ostiary.cli.terminal import (
    Group,
    ago,
    confirm,
    given,
    json_option,
    moment,
    printable,
    segment,
    show_fields,
    show_json,
    when,
    yes_option,
)
from ostiary.client.api import Client, RefusedError
from ostiary.core.instant import duration_from_text


@click.command("rotate")
@click.option(
    "--overlap",
    metavar="LENGTH",
    help="How long the old key stays valid, such as 24h, at most 30d; 0 ends it now. Default: until `rotation complete`.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    help="A new expiry: 90d, a date (UTC) or a time. Default: the expiry does not change.",
)
@format_option
@out_option(False, "For a key file: name of the new file. An existing file is never overwritten.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask for confirmation of --overlap 0. Required if there is no terminal.",
)
@json_option
@with_credential
def rotate_command(
    api: Client,
    credential: str,
    overlap: str | None,
    expires: str | None,
    form: str,
    out: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Give a credential a new secret. The old one stays valid for the overlap, or until `rotation complete`.

    The new secret is printed on standard output and is not shown again. A new key file is written to --out.

    \b
    Examples:
      ostiary credential rotate 0qxV2j --overlap 24h
      ostiary credential rotation show 0qxV2j      # is the old key still in use?
      ostiary credential rotation complete 0qxV2j  # end the old key
    """
    expires_at = None if expires is None else moment("--expires", expires, 1)
    body = given(overlap=overlap, expires_at=expires_at)
    before = _before(api, credential, out)
    context = None
    if form == "toml" and not as_json and before.get("kind") == "client_secret":
        context = context_of(api, segment(before["owner"]["id"]), before["project"])
    path = f"{address_of(credential)}/rotate"
    at_once = overlap is not None and _is_zero(overlap)
    if at_once:
        which = named(before) if before else credential
        confirm(yes, lambda: f"Rotate {which}, and end the old key at once?")
        # End the old key only after the new one is written. Until then, the rotation can be cancelled.
        del body["overlap"]
    if out is not None:
        made = save_key_file(api, path, body, out)
        show_key_file(made, out, as_json)
    else:
        made = make_secret(api, path, body, "json" if as_json else form, context)
    complete = again(f"credential rotation complete {printable(credential)}")
    if at_once:
        _end_old(api, credential, complete)
    old = None if at_once else made["credential"]["rotation"]
    note = "The old key is no longer accepted."
    if old is not None:
        note = f"The old key is accepted until {old['ends_at'] or f'you run: {complete}'}"
    click.echo(printable(note), err=True)


def _is_zero(length: str) -> bool:
    try:
        return duration_from_text(length) == 0
    except ValueError:
        return False  # the service reports the error


def _end_old(api: Client, credential: str, complete: str) -> None:
    """End the old key. Raises click.ClickException if that fails or is interrupted: the old key is still accepted."""
    try:
        api.request("POST", f"{address_of(credential)}/rotation", json={"action": "complete"})
    except (Exception, KeyboardInterrupt) as error:
        why = str(error).removesuffix(".") or "interrupted"
        raise click.ClickException(
            f"The new key was delivered, but the old one is still accepted ({why}).\nEnd it: {complete}"
        ) from None


def _before(api: Client, credential: str, out: Path | None) -> dict[str, Any]:
    """Return the credential; empty if the caller may not read it.

    Raises UsageError if `--out` is missing for a key file, or given for another kind.
    """
    try:
        found: dict[str, Any] = api.request("GET", address_of(credential))
    except RefusedError as error:
        # A caller that may rotate may lack the scope to read.
        if error.status == 403 and out is None:
            return {}
        raise
    if (found["kind"] == "key_file") != (out is not None):
        raise click.UsageError(
            "This credential is a key file. Name the new file with --out."
            if out is None
            else "--out is for key files only. Other secrets are printed."
        )
    return found


@click.group("rotation", cls=Group)
def rotation_command() -> None:
    """Show, complete or cancel a rotation."""


@rotation_command.command("show")
@json_option
@with_credential
def show_rotation(api: Client, credential: str, as_json: bool) -> None:
    """Show how both keys are used, and whether it is safe to end the old one."""
    _tell_rotation(api.request("GET", f"{address_of(credential)}/rotation"), as_json)


@rotation_command.command()
@yes_option
@json_option
@with_credential
def complete(api: Client, credential: str, yes: bool, as_json: bool) -> None:
    """End the old key now."""
    address = f"{address_of(credential)}/rotation"

    def question() -> str:
        found = api.request("GET", address)
        if not found["safe_to_revoke"] and found["state"] == "overlap":
            click.echo(f"Not yet safe: {_reasons(found)}.", err=True)
        return f"End the old key of {described(api, credential)} permanently?"

    confirm(yes, question)
    _tell_rotation(api.request("POST", address, json={"action": "complete"}), as_json)


@rotation_command.command()
@yes_option
@json_option
@with_credential
def cancel(api: Client, credential: str, yes: bool, as_json: bool) -> None:
    """End the new key now and keep the old one."""
    confirm(yes, lambda: f"End the new key of {described(api, credential)} permanently?")
    address = f"{address_of(credential)}/rotation"
    _tell_rotation(api.request("POST", address, json={"action": "cancel"}), as_json)


_REASONS = {
    "new_never_used": "the new key has never been used",
    "old_used_recently": "the old key was used in the last 24 hours",
    "watched_too_briefly": "the rotation is less than 24 hours old",
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
    fields: list[tuple[str, Any]] = [
        ("State", lambda: states.get(found["state"], found["state"])),
        ("Old key", lambda: _use(found["old"])),
        ("New key", lambda: _use(found["new"])),
    ]
    if found.get("state") == "overlap":
        fields.append(
            (
                "Safe to end the old key",
                lambda: "yes" if found["safe_to_revoke"] else f"not yet: {_reasons(found)}",
            )
        )
    show_fields(fields)


def _use(key: dict[str, Any] | None) -> str | None:
    """Return how much a key is used and until when it is accepted."""
    if key is None:
        return None
    used = "never used"
    if key["uses"]:
        used = f"used {key['uses']} time{'' if key['uses'] == 1 else 's'}, last {ago(key['last_used_at'])}"
    parts = [f"{ending(key)} {used}"]
    if key["ended_at"]:
        parts.append(f"ended {when(key['ended_at'])}")
    elif key["ends_at"]:
        parts.append(f"accepted until {when(key['ends_at'])}")
    return ", ".join(parts)
