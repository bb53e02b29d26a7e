"""`ostiary api-key …`"""

from typing import Any

import click

from ostiary.cli.generating import account_option, body, limits_options
from ostiary.cli.handing_over import format_option, make_secret
from ostiary.cli.terminal import Group, find_account, json_option, with_client
from ostiary.client.api import Client


@click.group("api-key", cls=Group)
def api_key_command() -> None:
    """Generate API keys."""


@api_key_command.command()
@account_option(False, "Whose key; without it, your own direct key.")
@limits_options
@format_option
@json_option
@with_client
def generate(api: Client, account: str | None, form: str, as_json: bool, **limits: Any) -> None:
    """Generate an API key. It is printed on standard output, alone and only now."""
    asked = body(**limits)
    path = "/v1/api-keys"
    if account is not None:
        path = f"/v1/service-accounts/{find_account(api, account)}/credentials"
        asked = {"kind": "api_key", **asked}
    make_secret(api, path, asked, "json" if as_json else form)
