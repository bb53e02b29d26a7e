"""`ostiary whoami` and `ostiary api-call`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from ostiary.cli.terminal import json_option, show_fields, show_json, with_client
from ostiary.client.api import Client


@click.command("whoami")
@json_option
@with_client
def whoami_command(api: Client, as_json: bool) -> None:
    """Who the credential in use is, and what it may do."""
    found = api.request("GET", "/v1/capabilities")
    if as_json:
        show_json(found)
        return
    show_fields(
        [
            ("Principal", f"{found['principal']['display_name']} ({found['principal']['id']})"),
            ("Organization", f"{found['organization']['name']} ({found['organization']['id']})"),
            ("Credential", f"{found['credential']['name']} ({found['credential']['id']})"),
            ("Expires", found["credential"]["expires_at"] or "never"),
            ("Project", found["project"]),
            ("Scopes", found["scopes"] or "none"),
            ("Resources", found["resources"]),
            ("Service", api.url),
        ]
    )


@click.command("api-call")
@click.argument("method", type=click.Choice(["GET", "POST", "PUT", "PATCH", "DELETE"], case_sensitive=False))
@click.argument("path")
@click.option("--data", help="The JSON body: text, @FILE, or @- for standard input.")
@with_client
def api_call_command(api: Client, method: str, path: str, data: str | None) -> None:
    """Call any address of the API and print its answer.

    ostiary api-call GET /v1/capabilities
    """
    if not path.startswith("/"):
        raise click.UsageError("PATH begins with a slash, such as /v1/capabilities.")
    body: Any = None
    if data is not None:
        text = data
        if data == "@-":
            text = sys.stdin.read()
        elif data.startswith("@"):
            try:
                text = Path(data[1:]).read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                raise click.UsageError(f"{data[1:]} cannot be read.") from None
        try:
            body = json.loads(text)
        except ValueError:
            raise click.UsageError("--data is not JSON.") from None
    answer = api.request(str(method).upper(), path, json=body)
    if answer is not None:
        show_json(answer)
