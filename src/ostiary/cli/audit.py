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
"""How many events `--follow` remembers, so that it prints none twice. The overlap has fewer."""


@click.group("audit", cls=Group)
def audit_command() -> None:
    """Read the audit log."""


@audit_command.command()
@click.option(
    "--filter",
    "category",
    type=click.Choice(["auth", "credentials", "directory", "access"]),
    help="Only events of this category.",
)
@click.option(
    "--actor",
    metavar="NAME",
    help="Only events of this actor: an email, username, display name, channel identifier, client id or id.",
)
@click.option("--target", metavar="ID", help="Only events about the object with this id.")
@click.option("--action", help="Only events with this action, such as credential.revoked.")
@click.option("--since", metavar="WHEN", help="A time, a date (UTC), or how long ago: 24h.")
@click.option("--until", metavar="WHEN", help="A time, a date (UTC), or how long ago.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="Print at most this many, the newest ones. --export writes all.",
)
@click.option("--follow", is_flag=True, help="Keep printing new events until you press Ctrl-C.")
@click.option(
    "--export",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write all matching events to a new file, one JSON object per line.",
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
    """Print the events of the audit log, newest last. Times are UTC.

    \b
    Examples:
      ostiary audit logs --action credential.revoked --since 7d
      ostiary audit logs --filter auth --actor ci-bot --follow
    """
    if export is not None and follow:
        raise click.UsageError("--export and --follow cannot be combined; choose one.")
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
    """Yield the matching events.

    If no such actor exists, print a note and yield nothing. With `strict`, raise RefusedError instead.
    """
    try:
        yield from api.pages("/v1/audit-events", asked)
    except RefusedError as refused:
        if strict or [pointer for pointer, _ in refused.field_errors] != ["/actor"]:
            raise
        click.echo(
            f"Note: {printable(asked['actor'])} matches no actor in the organization or in its audit log.",
            err=True,
        )


def show_events(found: list[dict[str, Any]], empty: str) -> None:
    """Print events as a table, in the given order."""
    titles = ("TIME", "ACTION", "OUTCOME", "ACTOR", "TARGET", "DETAILS")
    show_table([_row(event) for event in found], [Column(title) for title in titles], empty)


def _follow(api: Client, asked: dict[str, str], found: list[dict[str, Any]], as_json: bool) -> None:
    """Print new events as they arrive, until interrupted. Events older than the first one shown are not printed."""
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
            # Fetch the last seconds again: a transaction that began then may have committed since.
            newest = datetime.fromisoformat(found[-1]["time"])
            asked["since"] = max(first or "", _text(newest - timedelta(seconds=OVERLAP_SECONDS)))
        time.sleep(FOLLOW_SECONDS)
        found = list(api.pages("/v1/audit-events", asked | {"order": "oldest"}))


def _export(api: Client, asked: dict[str, str], path: Path) -> int:
    """Write the events to a new file. Return their number."""
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
        # The distinguishing details come first, because a terminal may cut off the end.
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
        if value not in (None, [], "") and (name, value) not in _DEFAULTS and name not in _SHOWN_ELSEWHERE
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


# Details that the table leaves out: other cells show them, or they have their default value. JSON has all of them.
_SHOWN_ELSEWHERE = {"first", "last", "last6", "owner"}
_DEFAULTS = (("access_level", "full"), ("kind", "api_key"))


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, "", []):
        return "none"
    if isinstance(value, dict):
        # A role binding reads as people say it: developer on prj_….
        words = [f"{name} {_short(each)}" for name, each in value.items()]
        return " ".join(words).removeprefix("role ") if value.keys() == {"role", "on"} else " ".join(words)
    if isinstance(value, list):
        joint = "; " if any(isinstance(each, dict | list) for each in value) else " "
        return joint.join(_short(each) for each in value)
    return str(value)
