"""What remote commands share: their client, and how answers are shown."""

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

from ostiary.cli.invocation import invocation, service_options
from ostiary.client.api import Client, MissingFieldError, NotOstiaryError
from ostiary.core import strict_json
from ostiary.core.instant import duration_from_text, from_text

MAX_USERNAME = 63

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ACCOUNT_ID = re.compile(r"(sa_|ostiary-sa-)[0-9a-hjkmnp-tv-z]{26}")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
always_json_option = click.option(
    "--json", is_flag=True, expose_value=False, help="The answer is JSON always."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask. Without a terminal it is needed.")
description_option = click.option("--description", help="For people; at most 2,000 characters.")
level_option = click.option(
    "--access-level",
    type=click.Choice(["full", "fine-grained"]),
    callback=lambda _context, _option, level: level and level.replace("-", "_"),
    help="All that the roles allow, or the listed scopes only.",
)
scopes_option = click.option(
    "--scope", "scopes", multiple=True, help="Limit it to this scope; may be given several times."
)
resources_option = click.option(
    "--resource", "resources", multiple=True, help="Limit it to this, such as agents/*; likewise."
)


class MisusedError(click.ClickException):
    """Wrong use that no option's help would explain: exit 2, without the usage lines."""

    exit_code = 2


class Group(click.Group):
    """A group that lists its commands as they are declared, each with its whole line."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(200)) for name, each in self.commands.items()])


def read_json(text: str) -> Any:
    """A document that somebody wrote, as strictly as the service reads it. JSONError says what is wrong."""
    return strict_json.parse(text.removeprefix("\ufeff"))


def show_json(value: Any) -> None:
    """JSON as text; what a terminal would obey stands escaped in it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo("".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text))


MISSING: Final = "–"


class Column(NamedTuple):
    """A column of a table. Where room is short the one with the highest `spare` is left out first; 0 never is.

    `cell` is what a row of the API has there: the name of a member, or what makes text of the row.
    """

    title: str
    cell: str | Callable[[Any], str] = ""
    spare: int = 0


def show_list(found: Iterable[Any], as_json: bool, columns: Sequence[Column], empty: str) -> None:
    """What a list prints: the API's rows as JSON, or a table of them."""
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
    """What `show` prints: the API's answer as JSON, or its fields, as `show_fields` takes them."""
    if as_json:
        show_json(found)
    else:
        show_fields(fields(found))


def tell(answer: Any, as_json: bool, sentence: str | Callable[[], str]) -> None:
    """What a change prints: the API's answer as JSON, or a sentence.

    A function that makes the sentence may read the answer. Where it finds too little, the change is done all the same.
    """
    if as_json:
        show_json(answer)
        return
    told = known(sentence) if callable(sentence) else sentence
    click.echo(printable("Done." if told == MISSING else told))


def remove(
    api: Client, address: str, name: str, as_json: bool, yes: bool, question: Callable[[], str], done: str
) -> None:
    """Delete what has this address, after asking a person; `question` is worked out only if somebody is asked."""
    confirm(yes, question)
    api.request("DELETE", address)
    tell({"deleted": name}, as_json, done)


def asks(yes: bool) -> bool:
    """Whether to ask a person before what cannot be undone. MisusedError without a terminal and without --yes."""
    if yes:
        return False
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise MisusedError("Nothing was changed: without a terminal to ask on, this command needs --yes.")
    return True


def confirm(yes: bool, question: Callable[[], str]) -> None:
    """Ask a person before what cannot be undone, on standard error. click.Abort if the answer is no; `asks`."""
    if asks(yes):
        click.confirm(printable(question()), abort=True, err=True)


def given(**members: Any) -> dict[str, Any]:
    """The body of what was given: None and empty tuples were not, and a single empty text empties a list."""
    return {
        name: [each for each in value if each] if isinstance(value, tuple) else value
        for name, value in members.items()
        if value not in (None, ())
    }


def changes(**members: Any) -> dict[str, Any]:
    """The same for a command that changes something; wrong use if nothing was given."""
    body = given(**members)
    if not body:
        raise click.UsageError("Nothing to change: give at least one option.")
    return body


def show_table(rows: list[list[str]], columns: Sequence[Column], empty: str) -> None:
    """A table that fits a terminal, or aligned plain text elsewhere; the sentence if there are no rows."""
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
    """A table, without the columns that may be left out if there is no room; if no table fits, a record a row."""
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
        click.echo(f"Left out: {', '.join(left)}; try --json, or `| less -S`.", err=True)


def _show_records(rows: list[list[str]], columns: Sequence[Column]) -> None:
    """Every field of every row on a line of its own, a blank line between rows."""
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
    """One field a line, names aligned; what is empty is left out. A terminal gets its lines broken at words.

    A value is what to show, or a function that reads it in an answer: a dash stands for a field that is not there.
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
    """Names come from other people: no control character of theirs reaches the terminal, a line break is a space."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "�" for c in text)


def ago(text: str | None) -> str:
    """`3 days ago` for a past time, `in 12 days` for a future one, `never` for none."""
    if text is None:
        return "never"
    length = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    past = length >= 0
    # What was made to expire in 90d a moment ago expires in 90 days.
    seconds = length if past else 30 - length
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            number = int(seconds // size)
            words = f"{number} {name}{'' if number == 1 else 's'}"
            return f"{words} ago" if past else f"in {words}"
    return "just now" if past else "in a moment"


def moment(option: str, text: str, direction: int) -> str:
    """A time as the API takes it, from an RFC 3339 time or a length such as 90d before (-1) or after (1) now.

    A date alone is its first moment in UTC.
    """
    if _DATE.fullmatch(text):
        text += "T00:00:00Z"
    try:
        from_text(text)
    except ValueError:
        try:
            if text.isdigit():
                raise ValueError("a bare number could be days as well as seconds")
            length = timedelta(microseconds=duration_from_text(text))
            then = datetime.now(UTC) + direction * length
        except (ValueError, OverflowError):
            raise click.BadParameter(
                "must be a length such as 90d or 12h, a date such as 2027-01-31, or a time such as 2027-01-31T00:00:00Z",
                param_hint=option,
            ) from None
        return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text


def segment(name: str) -> str:
    """A name that somebody typed as one segment of a path, whatever it holds."""
    if name in {"", ".", ".."}:
        raise MisusedError(f"'{name}' is no id or name.")
    return quote(name, safe="@")


def find_account(api: Client, name: str) -> str:
    """What addresses take for an account: ids, client ids and channel identifiers as they are, usernames looked up."""
    # A username may begin like a client id, so only the whole form counts as one.
    if "@" in name or _ACCOUNT_ID.fullmatch(name):
        return segment(name)
    found = []
    if 0 < len(name) <= MAX_USERNAME:
        found = api.request("GET", "/v1/service-accounts", params={"username": name})["data"]
    if not found:
        raise click.ClickException(
            f"There is no service account '{printable(name[:MAX_USERNAME])}'.\n"
            "`ostiary service-account list` shows what there is."
        )
    return segment(found[0]["id"])


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Hand the command its client as the first argument, and give it the options that choose the service."""

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
    """A time with how far away it is."""
    return None if time is None else f"{time} ({ago(time)})"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items())
    return str(value)
