"""What one run of the command line was told for every command, and what it reached: for the hints of failures.

`--context` and `--organization` are taken before the command's name and after it.
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
    """One run. What was not given is None; an empty text was given."""

    command: str = ""
    context: str | None = None
    organization: str | None = None
    connection: Connection | None = None
    """The service that was asked, once that is settled."""


def invocation() -> Invocation:
    """That of the command that runs now."""
    return click.get_current_context().ensure_object(Invocation)


def again(words: str) -> str:
    """A command to try next, where this one was told to act: `ostiary --organization acme …`."""
    called = invocation()
    told = [
        f"--{name} {value} "
        for name, value in (("context", called.context), ("organization", called.organization))
        if value
    ]
    return f"ostiary {''.join(told)}{words}"


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
    help="Use this context for one command (OSTIARY_CONTEXT).",
)
_organization_option = click.option(
    "--organization",
    metavar="ORG",
    expose_value=False,
    callback=_keep,
    help="Act in this organization, by id or slug (OSTIARY_ORGANIZATION); operator admins may, in any.",
)


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that asks a service and acts in an organization."""
    return context_option(_organization_option(command))
