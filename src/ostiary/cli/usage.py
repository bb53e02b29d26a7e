"""`ostiary usage`"""

import shutil
import sys
from typing import Any

import click

from ostiary.cli import completion
from ostiary.cli.credential_lookup import find_credential
from ostiary.cli.terminal import (
    MISSING,
    Column,
    find_account,
    json_option,
    moment,
    show_json,
    show_table,
    with_client,
)
from ostiary.client.api import Client

BAR = 24
"""Length of the longest bar, in characters."""
LEAST_BAR = 8
"""Length of the longest bar on a narrow terminal."""


@click.command("usage")
@click.option(
    "--credential",
    metavar="ID",
    shell_complete=completion.credentials,
    help="Only this credential: its id, its last six characters or its name.",
)
@click.option(
    "--service-account",
    metavar="NAME",
    shell_complete=completion.accounts,
    help="Only this account: its username, id, client id or channel identifier.",
)
@click.option(
    "--since",
    metavar="WHEN",
    help="A time, a date (UTC), or how long ago: 7d. Default: 24h, or 30d by the day.",
)
@click.option("--until", metavar="WHEN", help="A time, a date (UTC), or how long ago. Default: now.")
@click.option(
    "--interval",
    type=click.Choice(["hour", "day"]),
    default="hour",
    show_default=True,
    help="Length of each line's interval. A report has at most 744 hours or 90 days.",
)
@json_option
@with_client
def usage_command(
    api: Client,
    credential: str | None,
    service_account: str | None,
    since: str | None,
    until: str | None,
    interval: str,
    as_json: bool,
) -> None:
    """Show how often credentials were accepted and refused, by the hour or the day. Times are UTC.

    \b
    Example:
      ostiary usage --service-account ci-bot --interval day
    """
    if credential is not None and service_account is not None:
        raise click.UsageError("Give either --credential or --service-account, not both.")
    asked = {
        "credential": None if credential is None else find_credential(api, credential),
        "service_account": None if service_account is None else find_account(api, service_account),
        "since": None if since is None else moment("--since", since, -1),
        "until": None if until is None else moment("--until", until, -1),
        "interval": interval,
    }
    found = api.request(
        "GET", "/v1/usage", params={name: value for name, value in asked.items() if value is not None}
    )
    if as_json:
        show_json(found)
        return
    totals = found["totals"]
    if totals.get("accepted") == 0 and not totals.get("refused"):
        click.echo(
            "No uses in this period. A use is counted when a key is presented, and shown about ten seconds later:\n"
            '  curl -H "X-API-Key: $KEY" '
            f"{api.url}/v1/capabilities"
            + ("" if interval == "day" else "\n`ostiary usage --interval day` shows the last 30 days."),
            err=not sys.stdout.isatty(),
        )
        return
    rows = [_row(each, interval) for each in [*found["data"], totals]]
    columns = [Column("FROM"), Column("ACCEPTED"), Column("REFUSED")]
    if not sys.stdout.isatty():
        show_table(rows, [*columns, Column("WHY")], "")
        return
    # On a narrow terminal, the bars become shorter.
    numbers = sum(max(len(row[i]) for row in [[each.title for each in columns], *rows]) + 2 for i in range(3))
    room = shutil.get_terminal_size().columns - numbers
    why = max(len("WHY"), *(len(row[-1]) for row in rows))
    longest = max(LEAST_BAR, min(BAR, room - why - 2))
    counted = [(each.get("accepted", 0), _sum(each)) for each in found["data"]]
    most = max(sum(each) for each in counted)
    bars = [_bar(*each, most, longest) for each in counted]
    show_table(
        [[*row[:3], bar, row[3]] for row, bar in zip(rows, [*bars, ""], strict=True)],
        [
            *columns,
            Column("BAR", spare=2),
            Column("WHY"),
        ],
        "",
    )


def _row(each: dict[str, Any], interval: str) -> list[str]:
    """Return the cells of one interval, or of the totals, which have no beginning."""
    begins = each.get("from")
    width = 10 if interval == "day" else 16
    reasons = sorted(each.get("refused", {}).items(), key=lambda item: -item[1])
    return [
        "total" if begins is None else begins[:width].replace("T", " "),
        str(each.get("accepted", MISSING)),
        str(_sum(each)) if "refused" in each else MISSING,
        ", ".join(f"{reason} {number}" for reason, number in reasons),
    ]


def _sum(each: dict[str, Any]) -> int:
    return sum(each.get("refused", {}).values())


def _bar(accepted: int, refused: int, most: int, longest: int) -> str:
    """Return full blocks for accepted uses and light ones for refused uses, at least one block for any."""
    return "█" * _length(accepted, most, longest) + "░" * _length(refused, most, longest)


def _length(number: int, most: int, longest: int) -> int:
    return max(1, number * (longest - 1) // most) if number else 0
