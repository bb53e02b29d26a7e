"""`ostiary api-key …`"""

from typing import Any

import click

from ostiary.cli.credential_options import account_option, body, limits_options
from ostiary.cli.secret_output import format_option, make_secret
from ostiary.cli.terminal import Group, find_account, json_option, with_client
from ostiary.client.api import Client


@click.group("api-key", cls=Group)
def api_key_command() -> None:
    """Generate API keys."""


@api_key_command.command()
@account_option(False, "The service account that the key is for. Default: a direct key of your own.")
@limits_options
@format_option
@json_option
@with_client
def generate(api: Client, account: str | None, form: str, as_json: bool, **limits: Any) -> None:
    """Generate an API key and print it on standard output. It is not shown again.

    \b
    Example:
      KEY=$(ostiary api-key generate --service-account ci-bot --scope read:agents --expires 90d)
    """
    spec = body(**limits)
    path = "/v1/api-keys"
    if account is not None:
        path = f"/v1/service-accounts/{find_account(api, account)}/credentials"
        spec = {"kind": "api_key", **spec}
    make_secret(api, path, spec, "json" if as_json else form)
