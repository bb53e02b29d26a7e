"""What the commands that generate credentials share: the options that limit what is made, and whose it is."""

from collections.abc import Callable
from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.terminal import (
    MisusedError,
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
    "--ip", "ips", multiple=True, help="Limit it to this address or range; may be given several times."
)
_OPTIONS = (
    click.option("--name", help="To tell it from others."),
    description_option,
    scopes_option,
    resources_option,
    ips_option,
    click.option("--project", help="Bind it to one project, by id or code."),
    click.option(
        "--expires",
        metavar="WHEN",
        help="90d, a date (UTC) or a time; without it never, unless a policy says so.",
    ),
    click.option(
        "--rate-limit",
        metavar="N",
        help="How often it may be used a minute; without it, what the policy says.",
    ),
)


def limits_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every new credential; `body` reads them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def account_option(required: bool, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--service-account ACCOUNT`"""
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
    """The limits as the API takes them."""
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
    """A number of uses a minute as the API takes it. MisusedError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise MisusedError("--rate-limit must be a number of uses a minute, such as 60.")
    return int(text)


def own_account(api: Client, account: str | None) -> str:
    """The account that was named; without a name the one that asks. MisusedError if that is a person."""
    if account is not None:
        return find_account(api, account)
    principal = api.request("GET", "/v1/capabilities")["principal"]
    if principal["type"] != "service_account":
        raise MisusedError("Only service accounts have client secrets: name one with --service-account.")
    return segment(principal["id"])
