"""What remote commands share: the service and credential in use, and how answers are shown."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from ostiary.client.api import Client
from ostiary.core.instant import duration_from_text, from_text

DEFAULT_URL = "http://localhost:8080"

json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


def client() -> Client:
    """The service of OSTIARY_URL with the credential of OSTIARY_API_KEY, its file, or OSTIARY_TOKEN."""
    found = [
        (name, value)
        for name, value in (
            ("OSTIARY_API_KEY", os.environ.get("OSTIARY_API_KEY")),
            ("OSTIARY_API_KEY_FILE", _from_file("OSTIARY_API_KEY_FILE")),
            ("OSTIARY_TOKEN", os.environ.get("OSTIARY_TOKEN")),
        )
        if value
    ]
    if not found:
        raise click.UsageError(
            "No credential: set OSTIARY_API_KEY to an API key, or OSTIARY_API_KEY_FILE to a file that holds one."
        )
    credential = found[0][1].strip()
    if not credential.isascii() or not credential.isprintable() or " " in credential:
        raise click.UsageError(f"{found[0][0]} is no credential: it holds white space or odd characters.")
    return Client(os.environ.get("OSTIARY_URL") or DEFAULT_URL, credential)


def _from_file(variable: str) -> str | None:
    name = os.environ.get(variable)
    if not name:
        return None
    try:
        return Path(name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(f"{variable} names a file that cannot be read.") from None


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(rows: list[list[str]], columns: list[str], empty: str) -> None:
    """A table: drawn on a terminal, aligned plain text elsewhere; or the sentence for an empty one."""
    if not rows:
        click.echo(empty, err=not sys.stdout.isatty())
        return
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=column in {"ID", "WHEN"})
        for row in rows:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


_STYLES = {
    "active": "green",
    "enabled": "green",
    "revoked": "red",
    "expired": "red",
    "refused": "red",
    "deactivated": "yellow",
    "disabled": "yellow",
}


def show_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """One field a line, names aligned; what is empty is left out."""
    shown = [(name, printable(_text(value))) for name, value in fields if value not in (None, [], "")]
    width = max((len(name) for name, _ in shown), default=0) + 1
    for name, value in shown:
        click.echo(f"{name + ':':<{width}} {value}")


def printable(text: str) -> str:
    """Names come from other people: no control character of theirs reaches the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def ago(text: str | None) -> str:
    """`3 days ago` for a past time, `in 12 days` for a future one, `never` for none."""
    if text is None:
        return "never"
    length = datetime.now(UTC) - datetime.fromisoformat(text)
    past, seconds = length >= timedelta(0), abs(length.total_seconds())
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            number = int(seconds // size)
            words = f"{number} {name}{'' if number == 1 else 's'}"
            return f"{words} ago" if past else f"in {words}"
    return "just now" if past else "in a moment"


def expiry(text: str | None) -> str | None:
    """An `--expires` value as an RFC 3339 time: a time with a zone, or a length such as 90d from now."""
    if text is None:
        return None
    try:
        from_text(text)
    except ValueError:
        try:
            length = timedelta(microseconds=duration_from_text(text))
        except ValueError:
            raise click.BadParameter(
                "must be a length such as 90d or 12h, or a time such as 2027-01-31T00:00:00Z",
                param_hint="--expires",
            ) from None
        return (datetime.now(UTC) + length).isoformat(timespec="seconds").replace("+00:00", "Z")
    return text


def find_account(api: Client, name: str) -> str:
    """What addresses take for an account: ids, client ids and channel identifiers as they are, usernames looked up."""
    from urllib.parse import quote

    if name.startswith(("sa_", "ostiary-sa-")) or "@" in name:
        return quote(name, safe="@")
    found = api.request("GET", "/v1/service-accounts", params={"username": name})["data"]
    if not found:
        raise click.ClickException(
            f"There is no service account '{printable(name[:63])}'. `ostiary service-account list` shows them."
        )
    return str(found[0]["id"])


def confirm(question: str, yes: bool) -> None:
    """Ask a person before what cannot be undone; a script has decided already."""
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm(question, abort=True)


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Hand the command its client as the first argument."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        command(client(), *args, **kwargs)

    return wrapped


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items())
    return str(value)
