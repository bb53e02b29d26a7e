"""Usage reports: how often credentials were accepted and refused, by the hour or the day."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ostiary.core.instant import DAY, FIRST, HOUR, Instant
from ostiary.core.permission import Caller, require
from ostiary.core.problem import invalid, not_found
from ostiary.services import service_accounts
from ostiary.storage import credentials as credential_rows
from ostiary.storage import usage as rows
from ostiary.storage.store import Tx

Interval = Literal["hour", "day"]

LENGTHS: Final[Mapping[Interval, int]] = {"hour": HOUR, "day": DAY}
LONGEST: Final[Mapping[Interval, int]] = {"hour": 744, "day": 90}
"""Most intervals in one report."""
USUAL: Final[Mapping[Interval, int]] = {"hour": 24, "day": 30}
"""Number of intervals in a report without `since`."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """The subject and period of a report. Without a credential or an account, the whole organization is counted."""

    credential: str | None = None
    account: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    interval: Interval = "hour"


@dataclass(slots=True)
class UsageCounts:
    """Counts of one interval. Refusals are counted by reason."""

    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: str, number: int) -> None:
        if outcome == "accepted":
            self.accepted += number
        else:
            self.refused[outcome] = self.refused.get(outcome, 0) + number


@dataclass(frozen=True, slots=True)
class Report:
    """All intervals of the period with the instant at which each begins, oldest first; and their sums."""

    stretches: tuple[tuple[Instant, UsageCounts], ...]
    total: UsageCounts
    via: Mapping[str, int]
    """All uses and refusals, by the endpoint that received the credential."""


def report(tx: Tx, caller: Caller, wanted: UsageQuery) -> Report:
    """Return the usage of the caller's organization, or of one of its accounts or credentials. Times are UTC.

    The report has whole intervals, including those that contain `since` and `until`. Raises validation-failed for a
    period that is too long, and not-found.
    """
    require(caller, "read:usage")
    subject = _subject(tx, caller, wanted)
    length = LENGTHS[wanted.interval]
    end = -(-(tx.now if wanted.until is None else wanted.until) // length) * length
    begin = end - USUAL[wanted.interval] * length
    if wanted.since is not None:
        begin = wanted.since // length * length
    if wanted.since is not None and wanted.until is not None and wanted.since > wanted.until:
        raise invalid("/since", "invalid", "must not be later than until")
    most = LONGEST[wanted.interval]
    if begin < FIRST:
        raise invalid("/until", "invalid", "is too early")
    if end - begin > most * length:
        detail = f"must not be more than {most} {wanted.interval}s before the end"
        if wanted.interval == "hour":
            detail += f"; with the interval day, up to {LONGEST['day']} days are possible"
        raise invalid("/since", "invalid", detail)
    stretches = {at: UsageCounts() for at in range(begin, end, length)}
    total = UsageCounts()
    for at, outcome, number in rows.by_time(tx, caller.organization_id, subject, begin, end, length):
        stretches[at].add(outcome, number)
        total.add(outcome, number)
    via = dict(rows.by_via(tx, caller.organization_id, subject, begin, end))
    return Report(tuple(stretches.items()), total, via)


def _subject(tx: Tx, caller: Caller, wanted: UsageQuery) -> str:
    """Return the id whose rows are read: an account, a credential or the caller's organization. Raises not-found."""
    if wanted.credential is not None and wanted.account is not None:
        raise invalid("/credential", "invalid", "cannot be combined with service_account")
    if wanted.account is not None:
        return service_accounts.find(tx, caller, wanted.account).id
    if wanted.credential is not None:
        found = credential_rows.find(tx, caller.organization_id, wanted.credential)
        if found is None:
            raise not_found("credential")
        return found.id
    return caller.organization_id
