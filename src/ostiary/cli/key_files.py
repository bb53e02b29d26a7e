"""`ostiary key-file …`"""

from pathlib import Path
from typing import Any

import click

from ostiary.cli.generating import account_option, body, limits_options
from ostiary.cli.handing_over import out_option, save_key_file, show_key_file
from ostiary.cli.terminal import Group, find_account, given, json_option, with_client
from ostiary.client.api import Client

algorithm_option = click.option(
    "--algorithm", type=click.Choice(["RS256", "EdDSA"]), help="How the key signs; RS256 without it."
)
compat_option = click.option(
    "--compat",
    type=click.Choice(["google"]),
    help="Accept what these client libraries sign, beside the documented form; RS256 only.",
)


@click.group("key-file", cls=Group)
def key_file_command() -> None:
    """Generate key files."""


@key_file_command.command()
@account_option(True, "Whose key.")
@out_option(True, "Where to write it. Never over an existing file; nobody else can read it.")
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
    """Generate a key file. It is written to FILE, only now; the service keeps the public half.

    A JWT that is signed with it is traded for an access token.
    """
    asked = {"kind": "key_file", **body(**limits), **given(algorithm=algorithm, compat=compat)}
    address = f"/v1/service-accounts/{find_account(api, account)}/credentials"
    made = save_key_file(api, address, asked, out)
    show_key_file(made, out, as_json)
