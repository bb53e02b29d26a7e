"""`ostiary import FILE`: imports another system's keys, in the data directory."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ostiary.cli.invocation import MisusedError
from ostiary.cli.local import load, settings_options
from ostiary.cli.terminal import json_option, printable, show_json
from ostiary.core.import_file import FileError, ImportedKey, ImportOutcome, read_keys

if TYPE_CHECKING:
    from ostiary.node.import_job import ImportJob

BATCH: Final = 5_000
HINTS: Final = {
    "limit-reached": "Add --exceed-limits to import them anyway.",
    "validation-failed": "--register registers a prefix.",
}
SKIPPED: Final[dict[ImportOutcome, str]] = {
    "exists": "they exist already",
    "repeated": "they are in the file more than once",
    "expired": "they have expired",
    "beyond_policy": "the policy does not allow their lifetime",
}
TELL_EVERY: Final = 0.5
"""Seconds between two progress lines on a terminal. Elsewhere, a line is printed for each tenth of the keys."""


@click.command("import")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@settings_options
@click.option(
    "--service-account", "account", metavar="ACCOUNT", required=True, help="The account that gets the keys."
)
@click.option(
    "--prefix", required=True, help="The prefix of all keys, such as sk_live_ (3 to 16 characters)."
)
@click.option(
    "--organization",
    metavar="ORG",
    help="The account's organization, by id or slug. Default: the operator's.",
)
@click.option("--register", is_flag=True, help="Register the prefix first.")
@click.option("--exceed-limits", is_flag=True, help="Import more keys than the organization's policy allows.")
@click.option("--dry-run", is_flag=True, help="Print what would be imported and skipped, without any change.")
@json_option
def import_command(
    source: Path,
    file: Path | None,
    data: Path | None,
    account: str,
    prefix: str,
    organization: str | None,
    register: bool,
    exceed_limits: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Import another system's keys by their SHA-256 digests. Their users keep using the same keys.

    FILE has one JSON object per line, or is CSV, with sha256 and optionally name and expires_at. The whole file is
    checked before anything changes. Existing and expired keys are skipped. To resume an interrupted import, run the
    same command again.

    \b
    Example:
      ostiary import keys.csv --service-account ci-bot --prefix sk_live_ --register --dry-run

    Exits with 1 if keys were skipped because the policy does not allow their lifetime.
    """
    from ostiary.core.problem import Problem
    from ostiary.node.import_job import open_job

    total = _check(source)
    settings = load(file, data=data).settings
    progress = Progress(total)
    try:
        with open_job(settings, organization, account, prefix, register, exceed_limits) as job:
            found = job.foresee(_batches(source))
            if not dry_run:
                if register:
                    job.register()
                for batch in _batches(source):
                    progress.add(job.add(batch))
                found = progress.found
    except BaseException as error:
        if progress.done:
            progress.end()
            click.echo(
                f"Stopped after {progress.done:,} of {total:,} keys. The imported keys stay. To resume, run the same "
                "command again.",
                err=True,
            )
        if isinstance(error, Problem) and error.code in HINTS:
            raise click.ClickException(f"{error.title}: {error.detail}\n{HINTS[error.code]}") from None
        raise
    progress.end()
    _tell(job, total, found, dry_run, as_json)
    return 1 if found["beyond_policy"] else 0


def _tell(
    job: "ImportJob", total: int, found: "Counter[ImportOutcome]", dry_run: bool, as_json: bool
) -> None:
    """Print how many keys were, or would be, imported and skipped."""
    skipped = {outcome: found[outcome] for outcome in SKIPPED}
    if as_json:
        show_json(
            {
                "keys": total,
                "imported": found["imported"],
                "skipped": sum(skipped.values()),
                "reasons": skipped,
            }
            | {"dry_run": dry_run}
        )
    else:
        would = "would be imported" if dry_run else "imported"
        click.echo(f"{found['imported']:,} keys {would} for {printable(job.account)}.")
        for outcome, number in skipped.items():
            if number:
                click.echo(f"{number:,} skipped: {SKIPPED[outcome]}.")
        if dry_run:
            click.echo("This was a dry run. Nothing was changed.")
    if found["beyond_policy"]:
        click.echo(
            "Give those keys an earlier expires_at, or raise max_credential_lifetime (`ostiary policy set`), and run the "
            "command again.",
            err=True,
        )


def _check(source: Path) -> int:
    """Return the number of keys in the file. Raises MisusedError that names the first invalid line."""
    total = sum(1 for _ in _keys(source))
    if not total:
        raise MisusedError(f"{source} contains no keys.")
    return total


def _batches(source: Path) -> Iterator[list[ImportedKey]]:
    keys = _keys(source)
    while batch := list(islice(keys, BATCH)):
        yield batch


def _keys(source: Path) -> Iterator[ImportedKey]:
    try:
        with source.open(encoding="utf-8") as lines:
            yield from read_keys(lines)
    except FileError as error:
        raise MisusedError(f"{source}, {error}.") from None
    except (OSError, UnicodeDecodeError):
        raise MisusedError(f"{source} cannot be read as a text file.") from None


class Progress:
    """Progress lines of an import, on standard error."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.found: Counter[ImportOutcome] = Counter()
        self._terminal = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._printed_at = self._begun
        self._printed_tenths = 0

    @property
    def done(self) -> int:
        return self.found.total()

    def add(self, outcomes: "Counter[ImportOutcome]") -> None:
        self.found += outcomes
        now = time.monotonic()
        if self._terminal and now - self._printed_at >= TELL_EVERY:
            click.echo(f"\r{self._line(now)}", err=True, nl=False)
            self._printed_at = now
        elif not self._terminal and self.done * 10 // self.total > self._printed_tenths:
            click.echo(self._line(now), err=True)
            self._printed_tenths = self.done * 10 // self.total

    def end(self) -> None:
        """Print the last progress line of a terminal, with a line break."""
        if self._terminal and self._printed_at > self._begun:
            click.echo(f"\r{self._line(time.monotonic())}", err=True)

    def _line(self, now: float) -> str:
        speed = round(self.done / max(now - self._begun, 0.001))
        imported = self.found["imported"]
        return (
            f"{self.done:,} of {self.total:,} keys: {imported:,} imported, {self.done - imported:,} skipped, "
            f"{speed:,} per second"
        )
