"""`ostiary client-secret …`"""

from typing import Any

import click

from ostiary.cli.generating import account_option, body, limits_options, own_account
from ostiary.cli.handing_over import context_of, format_option, make_secret
from ostiary.cli.terminal import Group, json_option, with_client
from ostiary.client.api import Client


@click.group("client-secret", cls=Group)
def client_secret_command() -> None:
    """Generate client secrets."""


@client_secret_command.command()
@account_option(False, "Whose secret; without it, that of the service account that asks.")
@limits_options
@format_option
@json_option
@with_client
def generate(api: Client, account: str | None, form: str, as_json: bool, **limits: Any) -> None:
    """Generate a client secret. It is printed on standard output, alone and only now.

    With the client id it is traded for access tokens. --format toml prints a configuration with both.
    """
    asked = {"kind": "client_secret", **body(**limits)}
    account = own_account(api, account)
    context = context_of(api, account, limits["project"]) if form == "toml" and not as_json else None
    path = f"/v1/service-accounts/{account}/credentials"
    make_secret(api, path, asked, "json" if as_json else form, context)
