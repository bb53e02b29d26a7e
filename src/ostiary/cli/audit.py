"""`ostiary audit logs`"""

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from ostiary.cli.new_file import new_file
from ostiary.cli.terminal import (
    Column,
    Group,
    json_option,
    known,
    moment,
    printable,
    show_json,
    show_table,
    with_client,
)
from ostiary.client.api import Client, RefusedError

FOLLOW_SECONDS = 2.0
OVERLAP_SECONDS = 10.0
MOST_SEEN = 10_000
"""Events that `--follow` remembers, so as to print none twice: more than come in the overlap."""


@click.group("audit", cls=Group)
def audit_command() -> None:
    """Read the audit log."""


@audit_command.command()
@click.option(
    "--filter",
    "category",
    type=click.Choice(["auth", "credentials", "directory", "access"]),
    help="Only events of this kind.",
)
@click.option(
    "--actor",
    metavar="NAME",
    help="Who did it: an email, a username, a display name, a channel identifier, a client id or an id.",
)
@click.option("--target", metavar="ID", help="What it was done to.")
@click.option("--action", help="Such as credential.revoked.")
@click.option("--since", metavar="WHEN", help="A time, a date (UTC), or how long ago: 24h.")
@click.option("--until", metavar="WHEN", help="A time, a date (UTC), or how long ago.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="The newest so many; --export takes all.",
)
@click.option("--follow", is_flag=True, help="Go on printing what happens, until interrupted.")
@click.option(
    "--export",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write every matching event to a new file, JSON a line.",
)
@json_option
@with_client
def logs(
    api: Client,
    category: str | None,
    actor: str | None,
    target: str | None,
    action: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    follow: bool,
    export: Path | None,
    as_json: bool,
) -> None:
    """Print events, newest last. Times are UTC."""
    if export is not None and follow:
        raise click.UsageError("--export ends and --follow does not; choose one.")
    wanted = {
        "filter": category,
        "actor": actor,
        "target": target,
        "action": action,
        "since": _time("--since", since),
        "until": _time("--until", until),
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    if export is not None:
        number = _export(api, asked, export)
        if as_json:
            show_json({"file": str(export), "events": number})
        else:
            click.echo(f"{number} event{'' if number == 1 else 's'} in {printable(str(export))}.", err=True)
        return
    found: list[dict[str, Any]] = []
    for event in _matching(api, asked | {"limit": str(min(limit, 200))}, strict=follow):
        found.append(event)
        if len(found) >= limit:
            break
    found.reverse()
    if as_json and not follow:
        show_json(found)
        return
    if not follow:
        show_events(found, "No events match.")
        return
    _follow(api, asked, found, as_json)


def _matching(api: Client, asked: dict[str, str], strict: bool = False) -> Iterator[dict[str, Any]]:
    """Matching events. An actor that names nobody matches nothing, which a note says; or, `strict`, is an error."""
    try:
        yield from api.pages("/v1/audit-events", asked)
    except RefusedError as refused:
        if strict or [pointer for pointer, _ in refused.field_errors] != ["/actor"]:
            raise
        click.echo(
            f"Note: {printable(asked['actor'])} names nobody who is in the organization, or in its audit log.",
            err=True,
        )


def show_events(found: list[dict[str, Any]], empty: str) -> None:
    """Events as a table, in the order given."""
    titles = ("TIME", "ACTION", "OUTCOME", "ACTOR", "TARGET", "DETAILS")
    show_table([_row(event) for event in found], [Column(title) for title in titles], empty)


def _follow(api: Client, asked: dict[str, str], found: list[dict[str, Any]], as_json: bool) -> None:
    """Print events as they come. What is older than the first one shown stays out."""
    first = found[0]["time"] if found else None
    seen: dict[str, None] = {}
    while True:
        for event in found:
            if event["id"] not in seen:
                seen[event["id"]] = None
                click.echo(json.dumps(event) if as_json else "  ".join(cell for cell in _row(event) if cell))
        for oldest in list(seen)[:-MOST_SEEN]:
            del seen[oldest]
        if found:
            # Ask again for the last seconds: what was in the making then may stand there now.
            newest = datetime.fromisoformat(found[-1]["time"])
            asked["since"] = max(first or "", _text(newest - timedelta(seconds=OVERLAP_SECONDS)))
        time.sleep(FOLLOW_SECONDS)
        found = list(api.pages("/v1/audit-events", asked | {"order": "oldest"}))


def _export(api: Client, asked: dict[str, str], path: Path) -> int:
    """Write the events into a new file; their number."""
    number = 0
    with new_file(path) as (file, finish):
        for event in _matching(api, asked | {"order": "oldest"}):
            file.write(json.dumps(event) + "\n")
            number += 1
        finish()
    return number


def _time(option: str, text: str | None) -> str | None:
    return None if text is None else moment(option, text, -1)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _row(event: dict[str, Any]) -> list[str]:
    target, action = event.get("target"), event.get("action")
    details = dict(event.get("details", {}))
    what = known(lambda: target["display"]) if target else ""
    reason = event.get("reason")
    words = [reason] if reason and reason != "valid" else []
    if action == "token.issued":
        # What tells one trade from another stands first: a terminal cuts the end off.
        grant, scope, audience = (details.pop(name, None) for name in ("grant_type", "scope", "audience"))
        details = {
            "grant_type": grant and grant.rpartition(":")[2],
            "scope": scope,
            **details,
            "audience": audience,
        }
    if action == "request.refused":
        what = f"{details.pop('method', '')} {details.pop('route', '')}"
    if isinstance(details.get("before"), dict):
        before, after = details.pop("before"), details.pop("after", {})
        details = {
            name: f"{_short(before.get(name))} -> {_short(after.get(name))}"
            for name in details.pop("changed", before)
        } | details
    words += [
        f"{name} {_short(value)}"
        for name, value in details.items()
        if value not in (None, [], "") and (name, value) not in _USUAL and name not in _TOLD
    ]
    if address := event.get("address"):
        words.append(f"from {address}")
    cells = (
        known(lambda: f"{event['time'][:19]}Z"),
        known(lambda: event["action"]),
        known(lambda: event["outcome"]),
        known(lambda: event["actor"]["display"]),
        what,
        ", ".join(words),
    )
    return [printable(cell) for cell in cells]


# What a line of the log leaves out: what its other cells say, and what goes without saying. JSON has it all.
_TOLD = {"first", "last", "last6", "owner"}
_USUAL = (("access_level", "full"), ("kind", "api_key"))


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, "", []):
        return "none"
    if isinstance(value, dict):
        # What a role is held on reads as it is said: developer on prj_….
        words = [f"{name} {_short(each)}" for name, each in value.items()]
        return " ".join(words).removeprefix("role ") if value.keys() == {"role", "on"} else " ".join(words)
    if isinstance(value, list):
        joint = "; " if any(isinstance(each, dict | list) for each in value) else " "
        return joint.join(_short(each) for each in value)
    return str(value)
