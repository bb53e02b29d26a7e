"""What remote commands share: options, the API client, reading of arguments, output as text or JSON."""

import contextlib
import functools
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import click

from ostiary.cli.invocation import MisusedError, invocation
from ostiary.cli.service_options import service_options
from ostiary.client.api import Client, MissingFieldError, NotOstiaryError
from ostiary.core import strict_json
from ostiary.core.instant import duration_from_text, from_text

MAX_USERNAME = 63

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ACCOUNT_ID = re.compile(r"(sa_|ostiary-sa-)[0-9a-hjkmnp-tv-z]{26}")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
always_json_option = click.option(
    "--json", is_flag=True, expose_value=False, help="No effect: the output is always JSON."
)
yes_option = click.option(
    "--yes", is_flag=True, help="Do not ask for confirmation. Required if there is no terminal."
)
description_option = click.option("--description", help="Description, at most 2,000 characters.")
level_option = click.option(
    "--access-level",
    type=click.Choice(["full", "fine-grained"]),
    callback=lambda _context, _option, level: level and level.replace("-", "_"),
    help="full: everything that the roles allow; fine-grained: only the scopes given with --scope.",
)
scopes_option = click.option(
    "--scope", "scopes", multiple=True, help="Limit it to this scope; may be given several times."
)
resources_option = click.option(
    "--resource",
    "resources",
    multiple=True,
    help="Limit it to this resource, such as agents/*; may be given several times.",
)


class Group(click.Group):
    """A group whose help lists its commands in the order of declaration, each with its whole first sentence."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(200)) for name, each in self.commands.items()])


def read_json(text: str) -> Any:
    """Parse JSON as strictly as the service does. Raises JSONError with the reason."""
    return strict_json.parse(text.removeprefix("\ufeff"))


def show_json(value: Any) -> None:
    """Print a value as JSON. Control characters are escaped, so that a terminal does not interpret them."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo("".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text))


MISSING: Final = "–"


class Column(NamedTuple):
    """A column of a table. `cell` is the name of a field, or a function that returns the text for a row.

    If the terminal is too narrow, the column with the highest `spare` is left out first. A column with 0 never is.
    """

    title: str
    cell: str | Callable[[Any], str] = ""
    spare: int = 0


def show_list(found: Iterable[Any], as_json: bool, columns: Sequence[Column], empty: str) -> None:
    """Print the rows of a list, as JSON or as a table."""
    rows = list(found)
    if as_json:
        show_json(rows)
        return
    show_rows(rows, columns, empty)


def show_rows(rows: Iterable[Any], columns: Sequence[Column], empty: str) -> None:
    """A table of rows that the columns know how to read."""
    show_table(
        [[_text_of_cell(_read(column.cell, row)) for column in columns] for row in rows], columns, empty
    )


def _read(cell: str | Callable[[Any], str], row: Any) -> Any:
    return known(lambda: cell(row) if callable(cell) else row[cell])


def known(read: Callable[[], Any]) -> Any:
    """What this reads in an answer, or a dash if the service sent no such field: its version is another.

    It is for what people see. What a command needs, such as an id or a secret, is read without it; `reading` then says
    what is missing.
    """
    try:
        return read()
    except KeyError:
        return MISSING


def _text_of_cell(value: Any) -> str:
    return MISSING if value is None else _text(value)


def show_one(found: Any, as_json: bool, fields: Callable[[Any], Iterable[tuple[str, Any]]]) -> None:
    """Print one object, as JSON or as fields for `show_fields`."""
    if as_json:
        show_json(found)
    else:
        show_fields(fields(found))


def tell(answer: Any, as_json: bool, sentence: str | Callable[[], str]) -> None:
    """Print the result of a change, as JSON or as a sentence.

    A function that makes the sentence may read the response. If a field is missing there, the sentence is "Done."
    """
    if as_json:
        show_json(answer)
        return
    told = known(sentence) if callable(sentence) else sentence
    click.echo(printable("Done." if told == MISSING else told))


def remove(
    api: Client, address: str, name: str, as_json: bool, yes: bool, question: Callable[[], str], done: str
) -> None:
    """Delete the object with this path, after a confirmation. `question` is called only if a person is asked."""
    confirm(yes, question)
    api.request("DELETE", address)
    tell({"deleted": name}, as_json, done)


def asks(yes: bool) -> bool:
    """Return whether to ask for confirmation. Raises MisusedError if there is neither --yes nor a terminal."""
    if yes:
        return False
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise MisusedError("Nothing was changed. Without a terminal, this command needs --yes.")
    return True


def confirm(yes: bool, question: Callable[[], str]) -> None:
    """Ask for confirmation on standard error, unless `yes`. Raises click.Abort on "no", and as `asks` does."""
    if asks(yes):
        click.confirm(printable(question()), abort=True, err=True)


def given(**members: Any) -> dict[str, Any]:
    """Return the given fields as a request body. None and empty tuples are left out; ("",) gives an empty list."""
    return {
        name: [each for each in value if each] if isinstance(value, tuple) else value
        for name, value in members.items()
        if value not in (None, ())
    }


def changes(**members: Any) -> dict[str, Any]:
    """Like `given`, for a command that changes something. Raises UsageError if no field is given."""
    body = given(**members)
    if not body:
        raise click.UsageError("Nothing to change. Give at least one option.")
    return body


def show_table(rows: list[list[str]], columns: Sequence[Column], empty: str) -> None:
    """Print a table that fits the terminal, or aligned plain text elsewhere; `empty` if there are no rows."""
    if not rows:
        click.echo(empty, err=not sys.stdout.isatty())
        return
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(rows, columns)
        return
    titles = [column.title for column in columns]
    widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(columns))]
    for row in [titles, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(rows: list[list[str]], columns: Sequence[Column]) -> None:
    """Print a table without the columns that do not fit. If no table fits, print each row as a record."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    widths = [
        max(cell_len(text) for text in (columns[i].title, *cells))
        for i, cells in enumerate(zip(*rows, strict=True))
    ]
    console = Console()
    shown = list(range(len(columns)))
    while sum(widths[i] + 2 for i in shown) - 2 > console.width:
        least = max(shown, key=lambda i: columns[i].spare)
        if not columns[least].spare:
            _show_records(rows, columns)
            return
        shown.remove(least)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i in shown:
        table.add_column(columns[i].title, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(row[i], _STYLES.get(row[i], "")) for i in shown))
    console.print(table)
    if left := [column.title for i, column in enumerate(columns) if i not in shown]:
        click.echo(f"Columns left out: {', '.join(left)}. To see them, use --json or `| less -S`.", err=True)


def _show_records(rows: list[list[str]], columns: Sequence[Column]) -> None:
    """Print each field of each row on its own line, with a blank line between rows."""
    for number, row in enumerate(rows):
        if number:
            click.echo()
        show_fields((column.title, cell) for column, cell in zip(columns, row, strict=True))


_STYLES = {
    "active": "green",
    "enabled": "green",
    "revoked": "red",
    "expired": "red",
    "refused": "red",
    "deactivated": "yellow",
    "suspended": "yellow",
    "disabled": "yellow",
}


def show_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Print one field per line, with aligned names. Empty fields are left out. On a terminal, lines wrap at words.

    A value is shown as it is, or is a function that reads it from a response. A missing field is shown as a dash.
    """
    read = [(name, known(value) if callable(value) else value) for name, value in fields]
    shown = [(name, printable(_text(value))) for name, value in read if value not in (None, [], "")]
    width = max((len(name) for name, _ in shown), default=0) + 1
    room = shutil.get_terminal_size().columns - width - 1
    for name, value in shown:
        lines = [value]
        if sys.stdout.isatty() and room >= 20:
            lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False) or [""]
        style = _STYLES.get(value)
        click.echo(f"{name + ':':<{width}} {click.style(lines[0], fg=style) if style else lines[0]}")
        for line in lines[1:]:
            click.echo(f"{'':<{width}} {line}")


def printable(text: str) -> str:
    """Return the text without control characters, as one line. Names come from other people and are untrusted."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "�" for c in text)


def ago(text: str | None) -> str:
    """Return `3 days ago` for a past time, `in 12 days` for a future one, `never` for None."""
    if text is None:
        return "never"
    length = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    past = length >= 0
    # Something that was set to expire in 90d a moment ago still shows `in 90 days`.
    seconds = length if past else 30 - length
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            number = int(seconds // size)
            words = f"{number} {name}{'' if number == 1 else 's'}"
            return f"{words} ago" if past else f"in {words}"
    return "just now" if past else "in a moment"


def moment(option: str, text: str, direction: int) -> str:
    """Return a time in RFC 3339, from such a time or from a duration such as 90d before (-1) or after (1) now.

    A date alone means its first moment in UTC. Raises click.BadParameter.
    """
    if _DATE.fullmatch(text):
        text += "T00:00:00Z"
    try:
        from_text(text)
    except ValueError:
        try:
            if text.isdigit():
                raise ValueError("a number without a unit is ambiguous")
            length = timedelta(microseconds=duration_from_text(text))
            then = datetime.now(UTC) + direction * length
        except (ValueError, OverflowError):
            raise click.BadParameter(
                "must be a duration such as 90d or 12h, a date such as 2027-01-31, or a time such as 2027-01-31T00:00:00Z",
                param_hint=option,
            ) from None
        return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text


def segment(name: str) -> str:
    """Return a name that a person typed, quoted as one segment of a path. Raises MisusedError for dots only."""
    if name in {"", ".", ".."}:
        raise MisusedError(f"'{name}' is not an id or a name.")
    return quote(name, safe="@")


def find_account(api: Client, name: str) -> str:
    """Return the path segment of an account. Usernames are looked up; ids and other names are used unchanged.

    Raises click.ClickException for an unknown username.
    """
    # A username may begin like a client id, so only the complete form counts as a client id.
    if "@" in name or _ACCOUNT_ID.fullmatch(name):
        return segment(name)
    found = []
    if 0 < len(name) <= MAX_USERNAME:
        found = api.request("GET", "/v1/service-accounts", params={"username": name})["data"]
    if not found:
        raise click.ClickException(
            f"There is no service account '{printable(name[:MAX_USERNAME])}'.\n"
            "`ostiary service-account list` shows the accounts."
        )
    return segment(found[0]["id"])


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command an API client as its first argument, and the options that choose the service."""

    @service_options
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        from ostiary.cli.connection import connect

        api = connect(invocation()).client()
        with reading(api.url):
            command(api, *args, **kwargs)

    return wrapped


@contextlib.contextmanager
def reading(url: str) -> Iterator[None]:
    """While an answer is read. NotOstiaryError if it is JSON, but not what a command expects.

    MissingFieldError if it lacks a field that the command cannot do without.
    """
    try:
        yield
    except KeyError as error:
        raise MissingFieldError(
            f"The response of {url} has no field {printable(str(error))}, which this command needs."
        ) from error
    except (TypeError, AttributeError, ValueError) as error:
        # Another program, or a much older version.
        raise NotOstiaryError(
            f"{url} answers, but not as this version of Ostiary does ({type(error).__name__}: {error})."
        ) from error


def when(time: str | None) -> str | None:
    """Return a time with its distance from now, such as `2027-01-31T00:00:00Z (in 12 days)`."""
    return None if time is None else f"{time} ({ago(time)})"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items())
    return str(value)
