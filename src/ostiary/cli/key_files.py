"""`ostiary key-file …`"""

from pathlib import Path
from typing import Any

import click

from ostiary.cli.credential_options import account_option, body, limits_options
from ostiary.cli.secret_output import out_option, save_key_file, show_key_file
from ostiary.cli.terminal import Group, find_account, given, json_option, with_client
from ostiary.client.api import Client

algorithm_option = click.option(
    "--algorithm",
    type=click.Choice(["RS256", "EdDSA"]),
    help="Signature algorithm of the key. Default: RS256.",
)
compat_option = click.option(
    "--compat",
    type=click.Choice(["google"]),
    help="Also accept assertions that these client libraries sign. Only for RS256.",
)


@click.group("key-file", cls=Group)
def key_file_command() -> None:
    """Generate key files."""


@key_file_command.command()
@account_option(True, "The service account that the key is for.")
@out_option(True, "Name of the new key file, with mode 0600. An existing file is never overwritten.")
@algorithm_option
@compat_option
@limits_options
@json_option
@with_client
def generate(
    api: Client,
    account: str,
    out: Path,
    algorithm: str | None,
    compat: str | None,
    as_json: bool,
    **limits: Any,
) -> None:
    """Generate a key file and write it to FILE. The service stores only the public key.

    A program signs a JWT with the key and exchanges it for an access token.

    \b
    Example:
      ostiary key-file generate --service-account ci-bot --out ci-bot.json
    """
    spec = {"kind": "key_file", **body(**limits), **given(algorithm=algorithm, compat=compat)}
    path = f"/v1/service-accounts/{find_account(api, account)}/credentials"
    made = save_key_file(api, path, spec, out)
    show_key_file(made, out, as_json)
