"""The options that all remote commands share.

`--context` and `--organization` can stand before or after the command's name.
"""

from collections.abc import Callable
from typing import Any

import click

from ostiary.cli.completion import contexts
from ostiary.cli.invocation import Invocation


def _keep(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        assert option.name is not None
        setattr(context.ensure_object(Invocation), option.name, value)


context_option = click.option(
    "--context",
    metavar="NAME",
    expose_value=False,
    callback=_keep,
    shell_complete=contexts,
    help="Use this context instead of the default one (OSTIARY_CONTEXT).",
)
_organization_option = click.option(
    "--organization",
    metavar="ORG",
    expose_value=False,
    callback=_keep,
    help="Act in this organization, by id or slug (OSTIARY_ORGANIZATION). For operator admins.",
)


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that calls a service and acts in an organization."""
    return context_option(_organization_option(command))
