"""`ostiary session …`"""

import click

from ostiary.cli import completion
from ostiary.cli.terminal import (
    Column,
    Group,
    ago,
    json_option,
    printable,
    segment,
    show_json,
    show_list,
    tell,
    with_client,
)
from ostiary.client.api import Client
from ostiary.core.model import KIND_NAMES


@click.group("session", cls=Group)
def session_command() -> None:
    """List and revoke the sessions of sign-ins and logins."""


@session_command.command("list")
@json_option
@with_client
def list_sessions(api: Client, as_json: bool) -> None:
    """List the live sessions, newest first. Without the scope read:sessions: your own."""
    show_list(
        list(api.pages("/v1/sessions")),
        as_json,
        [
            Column("ID", "id"),
            Column("KIND", lambda each: KIND_NAMES.get(each["kind"], each["kind"]), spare=3),
            Column("OWNER", lambda each: each["owner"]["display_name"]),
            Column("CLIENT", lambda each: each["client_name"] or "", spare=4),
            Column("CREATED", lambda each: ago(each["created_at"]), spare=2),
            Column("LAST USED", lambda each: ago(each["last_used_at"])),
            Column("EXPIRES", lambda each: ago(each["expires_at"]), spare=1),
            Column("ADDRESS", lambda each: each["address"] or ""),
        ],
        "No sessions.",
    )


@session_command.command()
@click.argument("sessions", metavar="SESSION...", nargs=-1, shell_complete=completion.sessions)
@click.option(
    "--all", "everywhere", is_flag=True, help="Revoke all your own sessions, in every organization."
)
@json_option
@with_client
def revoke(api: Client, sessions: tuple[str, ...], everywhere: bool, as_json: bool) -> None:
    """Revoke sessions at once and permanently. SESSION is the id that `list` shows.

    It is safe to revoke a session again.
    """
    if everywhere == bool(sessions):
        raise click.UsageError("Give either sessions or --all.")
    if everywhere:
        done = api.request("POST", "/v1/sessions/revoke-all")
        sentences = {0: "There was no session to revoke.", 1: "1 session is revoked."}
        tell(
            done, as_json, lambda: sentences.get(done["revoked"], f"{done['revoked']} sessions are revoked.")
        )
        return
    for session in sessions:
        api.request("DELETE", f"/v1/sessions/{segment(session)}")
        if not as_json:
            click.echo(f"{printable(session)} is revoked.")
    if as_json:
        show_json({"revoked": list(sessions)})
