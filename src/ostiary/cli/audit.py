"""`ostiary audit logs`"""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from ostiary.cli.terminal import json_option, printable, show_json, show_table, with_client
from ostiary.client.api import Client
from ostiary.core.instant import duration_from_text

FOLLOW_SECONDS = 2.0


@click.group("audit")
def audit_command() -> None:
    """Read the audit log."""


@audit_command.command()
@click.option("--filter", "category", help="auth, credentials, directory or access.")
@click.option("--actor", help="An id, a credential's id or a display name.")
@click.option("--target", help="An id.")
@click.option("--action", help="Such as credential.revoked.")
@click.option("--since", help="A time, or how long ago: 24h.")
@click.option("--until", help="A time, or how long ago.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--follow", is_flag=True, help="Go on printing what happens, until interrupted.")
@click.option(
    "--export", type=click.Path(path_type=Path), help="Write every matching event to a new file, JSON a line."
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
    """Print events, newest last."""
    wanted = {
        "filter": category,
        "actor": actor,
        "target": target,
        "action": action,
        "since": _time(since),
        "until": _time(until),
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    if export is not None:
        _export(api, asked, export)
        return
    found: list[dict[str, Any]] = []
    for event in api.pages("/v1/audit-events", asked | {"limit": str(min(limit, 200))}):
        found.append(event)
        if len(found) >= limit:
            break
    found.reverse()
    if as_json and not follow:
        show_json(found)
        return
    if not follow:
        show_table(
            [_row(event) for event in found],
            ["WHEN", "ACTION", "ACTOR", "TARGET", "OUTCOME", "DETAILS"],
            "No events match.",
        )
        return
    _follow(api, asked, found, as_json)


def _follow(api: Client, asked: dict[str, str], found: list[dict[str, Any]], as_json: bool) -> None:
    seen: set[str] = set()
    while True:
        for event in found:
            if event["id"] not in seen:
                seen.add(event["id"])
                asked["since"] = event["time"]
                click.echo(json.dumps(event, ensure_ascii=False) if as_json else "  ".join(_row(event)))
        time.sleep(FOLLOW_SECONDS)
        found = list(api.pages("/v1/audit-events", asked | {"order": "oldest", "limit": "200"}))


def _export(api: Client, asked: dict[str, str], path: Path) -> None:
    """Never over an existing file, never half: the name appears when the file is whole."""
    if path.exists():
        raise click.UsageError(f"{path} exists; choose another name.")
    part = path.with_name(path.name + ".part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.UsageError(f"{part} cannot be made: {error.strerror}.") from None
    number = 0
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            for event in api.pages("/v1/audit-events", asked | {"order": "oldest", "limit": "200"}):
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
                number += 1
        os.link(part, path)
    finally:
        part.unlink()
    click.echo(f"{number} events in {path}.", err=True)


def _time(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        length = timedelta(microseconds=duration_from_text(text))
    except ValueError:
        return text
    return (datetime.now(UTC) - length).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _row(event: dict[str, Any]) -> list[str]:
    target = event["target"]
    details = event["details"]
    words = [event["reason"]] if event["reason"] and event["reason"] != "valid" else []
    words += [
        f"{name} {_short(value)}"
        for name, value in details.items()
        if value not in (None, [], "") and name not in ("first", "last")
    ]
    if event["address"]:
        words.append(f"from {event['address']}")
    return [
        event["time"][:19].replace("T", " "),
        event["action"],
        printable(event["actor"]["display"]),
        printable(f"{target['display']}") if target else "",
        event["outcome"],
        printable(", ".join(words)),
    ]


def _short(value: Any) -> str:
    return " ".join(str(each) for each in value) if isinstance(value, list) else str(value)
