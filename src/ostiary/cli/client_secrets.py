"""`ostiary client-secret …`"""

from typing import Any

import click

from ostiary.cli.credential_options import account_option, body, limits_options, own_account
from ostiary.cli.secret_output import context_of, format_option, make_secret
from ostiary.cli.terminal import Group, json_option, with_client
from ostiary.client.api import Client


@click.group("client-secret", cls=Group)
def client_secret_command() -> None:
    """Generate client secrets."""


@client_secret_command.command()
@account_option(
    False, "The service account that the secret is for. Default: the account whose credential is in use."
)
@limits_options
@format_option
@json_option
@with_client
def generate(api: Client, account: str | None, form: str, as_json: bool, **limits: Any) -> None:
    """Generate a client secret and print it on standard output. It is not shown again.

    A program exchanges the client id and this secret for access tokens (`ostiary oauth-token generate`). --format toml
    prints a configuration file with both.

    \b
    Example:
      ostiary client-secret generate --service-account ci-bot --format env >> .env
    """
    spec = {"kind": "client_secret", **body(**limits)}
    account = own_account(api, account)
    context = context_of(api, account, limits["project"]) if form == "toml" and not as_json else None
    path = f"/v1/service-accounts/{account}/credentials"
    make_secret(api, path, spec, "json" if as_json else form, context)
