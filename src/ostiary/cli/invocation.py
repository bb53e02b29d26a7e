"""The options that all remote commands share, and the connection of this run, for hints in error messages.

`--context` and `--organization` can stand before or after the command's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ostiary.cli.completion import contexts

if TYPE_CHECKING:
    from ostiary.cli.connection import Connection


@dataclass(slots=True)
class Invocation:
    """One run of the command line. An option that was not given is None; an empty text was given."""

    command: str = ""
    context: str | None = None
    organization: str | None = None
    connection: Connection | None = None
    """The connection in use, once `connect` or `reach` has chosen it."""


def invocation() -> Invocation:
    """Return the invocation of the command that runs now."""
    return click.get_current_context().ensure_object(Invocation)


def again(words: str) -> str:
    """Return a command to try next, with this run's context and organization: `ostiary --organization acme …`."""
    called = invocation()
    options = [
        f"--{name} {value} "
        for name, value in (("context", called.context), ("organization", called.organization))
        if value
    ]
    return f"ostiary {''.join(options)}{words}"


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
