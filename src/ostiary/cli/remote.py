"""`ostiary whoami` and `ostiary api-call`."""

import sys
from pathlib import Path
from typing import Any, get_args

import click

from ostiary.cli.invocation import MisusedError, invocation
from ostiary.cli.secret_request import CreatedSecret, hand_over, made_of
from ostiary.cli.terminal import (
    always_json_option,
    json_option,
    read_json,
    show_fields,
    show_json,
    when,
    with_client,
)
from ostiary.client.api import Client
from ostiary.core.model import KIND_NAMES, TokenKind
from ostiary.core.strict_json import JSONError

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@click.command("whoami")
@json_option
@with_client
def whoami_command(api: Client, as_json: bool) -> None:
    """Show the owner of the credential in use, and what it may do.

    It also shows where the credential and the service are set.
    """
    found = api.request("GET", "/v1/capabilities")
    if as_json:
        show_json(found)
        return
    used = invocation().connection
    credential = found.get("credential", {})
    kind = credential.get("kind")

    def named() -> str:
        return f"{credential['name']} ({credential['id']})"

    def ends() -> str:
        return when(credential["expires_at"]) or "never"

    proof: list[tuple[str, Any]] = [("Credential", named), ("Expires", ends)]
    if kind in get_args(TokenKind):
        # Name and id are those of the credential that the token was issued for; the expiry is the token's own.
        proof = [("Token", lambda: f"{KIND_NAMES[kind]} of {named()}"), ("Token ends", ends)]
    show_fields(
        [
            ("Principal", lambda: f"{found['principal']['display_name']} ({found['principal']['id']})"),
            ("Organization", lambda: f"{found['organization']['name']} ({found['organization']['id']})"),
            *proof,
            ("Project", lambda: found["project"]),
            ("Scopes", lambda: found["scopes"] or "none"),
            ("Account's resources", lambda: found["resources"]["account"]),
            ("Key's resources", lambda: found["resources"]["credential"]),
            ("Account's projects", lambda: found["limits"]["projects"]),
            ("Acting in", api.organization),
            ("Service", api.url),
            ("Context", used.context if used else None),
            ("From", used.credential_from if used else None),
        ]
    )


@click.command("api-call")
@click.argument("method")
@click.argument("path")
@click.option("--data", metavar="JSON", help="Request body: JSON text, @FILE, or @- for standard input.")
@always_json_option
@with_client
def api_call_command(api: Client, method: str, path: str, data: str | None) -> None:
    """Call any endpoint of the API with GET, POST, PUT, PATCH or DELETE, and print the response.

    \b
    Examples:
      ostiary api-call GET /v1/capabilities
      ostiary api-call POST /v1/projects --data '{"name": "Website"}'
    """
    if method.upper() not in METHODS:
        raise click.UsageError(f"METHOD must be one of {', '.join(METHODS)}.")
    if not path.startswith("/"):
        raise click.UsageError("PATH must begin with a slash, such as /v1/capabilities.")
    body: Any = None
    if data is not None:
        text = data
        if data == "@-":
            text = sys.stdin.read()
        elif data.startswith("@"):
            try:
                text = Path(data[1:]).read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                raise MisusedError(f"{data[1:]} cannot be read.") from None
        try:
            body = read_json(text)
        except JSONError as error:
            raise click.UsageError(f"--data {error}.") from None

    def put(answer: Any) -> None:
        if answer is not None:
            show_json(answer)

    def made(answer: Any) -> CreatedSecret | None:
        return made_of(api, path, answer) if method.upper() == "POST" else None

    hand_over(lambda: api.request(method.upper(), path, json=body), made, put)
