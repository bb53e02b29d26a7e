"""Finds the credential that an argument names: by id, by its last six characters, or by a unique name."""

import functools
import re
from collections.abc import Callable
from typing import Any, Final

import click

from ostiary.cli import completion
from ostiary.cli.invocation import MisusedError
from ostiary.cli.secret_output import ending
from ostiary.cli.terminal import printable, segment, with_client
from ostiary.client.api import Client

MAX_SEARCH: Final = 253
"""The longest search text that the API accepts."""

_ID: Final = re.compile(r"cred_[0-9a-hjkmnp-tv-z]{26}")


def credential_argument(several: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the command's argument for a credential, or for `several`."""
    return click.argument(
        "credentials" if several else "credential",
        metavar="ID..." if several else "ID",
        nargs=-1 if several else 1,
        required=True,
        shell_complete=completion.credentials,
    )


def with_credential(command: Callable[..., None]) -> Callable[..., None]:
    """Like `with_client`, for a command about one credential. The command gets the credential's id."""

    @credential_argument()
    @with_client
    @functools.wraps(command)
    def wrapped(api: Client, *args: Any, credential: str, **kwargs: Any) -> None:
        command(api, *args, credential=find_credential(api, credential), **kwargs)

    return wrapped


def find_credential(api: Client, text: str) -> str:
    """Return the id of the credential with this id, these last six characters, or this name.

    An id is returned without a look-up. Raises click.ClickException if there is no such credential, and MisusedError
    with a list if there are several.
    """
    if _ID.fullmatch(text):
        return text
    segment(text)
    matching = []
    if len(text) <= MAX_SEARCH:
        found = api.pages("/v1/credentials", {"search": text})
        matching = [each for each in found if text in (each["id"], each["last6"], each["name"])]
    if not matching:
        raise click.ClickException(
            f"There is no such credential: '{printable(text[:MAX_SEARCH])}'.\n"
            "`ostiary credential list` shows the credentials."
        )
    if matching[1:]:
        lines = [f"  {each['id']}  {each['status']}  {named(each)}" for each in matching]
        raise MisusedError(
            "\n".join([f"'{text}' matches {len(matching)} credentials. Give the id of one:", *lines])
        )
    return str(matching[0]["id"])


def named(credential: dict[str, Any]) -> str:
    """Return a credential's name, last characters and owner, as one printable line."""
    return printable(f"{credential['name']} ({ending(credential)}) of {credential['owner']['display_name']}")


def described(api: Client, credential: str) -> str:
    """Return `named` for the credential with this id, for a confirmation question."""
    return named(api.request("GET", address_of(credential)))


def address_of(credential: str) -> str:
    """Return the API path of the credential with this id."""
    return f"/v1/credentials/{segment(credential)}"
