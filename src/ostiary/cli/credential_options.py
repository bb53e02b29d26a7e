"""Options that the commands for new credentials share: the owner and the limits."""

from collections.abc import Callable
from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.invocation import MisusedError
from ostiary.cli.terminal import (
    description_option,
    find_account,
    given,
    moment,
    resources_option,
    scopes_option,
    segment,
)
from ostiary.client.api import Client

ips_option = click.option(
    "--ip",
    "ips",
    multiple=True,
    help="Limit it to this IP address or CIDR range; may be given several times.",
)
_OPTIONS = (
    click.option("--name", help="Name of the credential."),
    description_option,
    scopes_option,
    resources_option,
    ips_option,
    click.option("--project", help="Bind it to one project, by id or code."),
    click.option(
        "--expires",
        metavar="WHEN",
        help="90d, a date (UTC) or a time. Default: the policy's default lifetime, else never.",
    ),
    click.option(
        "--rate-limit",
        metavar="N",
        help="Most uses per minute. Default: the policy's limit.",
    ),
)


def limits_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that limit a new credential. `body` reads them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def account_option(required: bool, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--service-account ACCOUNT` with this help text."""
    return click.option(
        "--service-account",
        "account",
        required=required,
        metavar="ACCOUNT",
        shell_complete=completion.accounts,
        help=text,
    )


def body(
    *,
    name: str | None,
    description: str | None,
    scopes: tuple[str, ...],
    resources: tuple[str, ...],
    ips: tuple[str, ...],
    project: str | None,
    expires: str | None,
    rate_limit: str | None,
) -> dict[str, Any]:
    """Return the limits as fields of a request to the API. Raises MisusedError."""
    return given(
        name=name,
        description=description,
        scopes=scopes,
        resources=resources,
        allowed_ips=ips,
        project=project,
        expires_at=None if expires is None else moment("--expires", expires, 1),
        rate_limit=None if rate_limit is None else uses(rate_limit),
    )


def uses(text: str) -> int:
    """Return the value of --rate-limit as a number. Raises MisusedError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise MisusedError("--rate-limit must be a number of uses per minute, such as 60.")
    return int(text)


def own_account(api: Client, account: str | None) -> str:
    """Return the named account, or the account whose credential is in use. Raises MisusedError if that is a user's."""
    if account is not None:
        return find_account(api, account)
    principal = api.request("GET", "/v1/capabilities")["principal"]
    if principal["type"] != "service_account":
        raise MisusedError("Only service accounts have client secrets. Name one with --service-account.")
    return segment(principal["id"])
