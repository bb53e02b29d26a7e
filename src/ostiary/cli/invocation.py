"""One run of the command line as plain data: its options, and its connection for hints in error messages."""

from dataclasses import dataclass
from typing import Protocol

import click


class MisusedError(click.ClickException):
    """Wrong use that the usage lines would not explain. Exits with 2, and prints the message only."""

    exit_code = 2


class InUse(Protocol):
    """What error messages name of a `connection.Connection`."""

    @property
    def url(self) -> str: ...

    @property
    def url_from(self) -> str: ...

    @property
    def credential_from(self) -> str: ...

    @property
    def unknown(self) -> str: ...

    @property
    def context(self) -> str | None: ...

    @property
    def organization(self) -> str | None: ...

    @property
    def organization_from(self) -> str: ...


@dataclass(slots=True)
class Invocation:
    """One run of the command line. An option that was not given is None; an empty text was given."""

    command: str = ""
    context: str | None = None
    organization: str | None = None
    connection: InUse | None = None
    """The connection in use, as `connection.connect` or `connection.reach` chose it."""


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
