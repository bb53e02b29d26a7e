"""The audit log: recording a caller's act, writing counted uses and refusals, reading pages."""

from collections.abc import Mapping, Sequence

from ostiary.core.event import UNKNOWN, Actor, Event, Outcome, Target
from ostiary.core.instant import HOUR, to_text
from ostiary.core.model import is_session, label_of
from ostiary.core.permission import Caller, require
from ostiary.storage import audit as rows
from ostiary.storage import directory, generations
from ostiary.storage import usage as usage_rows
from ostiary.storage.audit import Filter, Recorded
from ostiary.storage.counts import Count, Occasion
from ostiary.storage.store import Tx


def event_of(
    caller: Caller,
    action: str,
    target: Target | None,
    outcome: Outcome = "success",
    reason: str = "",
    details: Mapping[str, object] | None = None,
) -> Event:
    """The event of a caller's act, with where it came from."""
    return Event(
        action,
        caller.actor,
        target,
        outcome,
        reason,
        None if caller.address is None else str(caller.address),
        caller.user_agent,
        caller.request_id,
        details or {},
    )


def change(tx: Tx, caller: Caller, action: str, target: Target, **details: object) -> None:
    """Record a change in the log of the organization that the caller acts in, in this transaction."""
    tx.record(event_of(caller, action, target, details=details), caller.organization_id)


def revoked(tx: Tx, caller: Caller, found: Sequence[tuple[str, str, str]], because: str) -> None:
    """Record that credentials (id, name, last 6) were revoked with what they belonged to."""
    for credential_id, name, last6 in found:
        target = Target("credential", credential_id, label_of(name, last6))
        change(tx, caller, "credential.revoked", target, because=because)


def refuse(tx: Tx, caller: Caller, method: str, route: str, status: int, code: str, reason: str) -> None:
    """Record that a request of this caller was refused, with the exact reason."""
    tx.record(
        event_of(
            caller,
            "request.refused",
            None,
            "refused",
            reason,
            {"method": method, "route": route, "status": status, "code": code},
        ),
        caller.organization_id,
    )


def page(
    tx: Tx, caller: Caller, wanted: Filter, before: int | None, limit: int, oldest_first: bool = False
) -> list[Recorded]:
    """Events of the caller's organization."""
    require(caller, "read:audit")
    return rows.page(tx, caller.organization_id, wanted, before, limit, oldest_first)


def write_counts(tx: Tx, _caller: Caller, counts: Mapping[Occasion, Count]) -> None:
    """Write counted uses and refusals as one event each, the last use of each secret, and the numbers of the hour.

    What no organization can be told of (an unknown credential) stands in the operator's log.
    """
    operator = directory.find_operator(tx)
    uses: dict[tuple[str, str], tuple[int, int]] = {}
    events = []
    hourly: dict[usage_rows.Place, int] = {}
    for occasion, count in counts.items():
        if occasion.accepted and occasion.access_id is not None and occasion.credential_id is not None:
            which = occasion.access_id, occasion.credential_id
            last, number = uses.get(which, (0, 0))
            uses[which] = max(last, count.last), number + count.number
        organization_id = occasion.organization_id or (operator.id if operator else "")
        events.append((organization_id, _counted(occasion, count)))
        for subject in _subjects(organization_id, occasion):
            outcome = "accepted" if occasion.accepted else occasion.reason
            # Some seconds that go past the hour count for the later one.
            place = organization_id, subject, count.last // HOUR * HOUR, outcome, occasion.via
            hourly[place] = hourly.get(place, 0) + count.number
    rows.insert(tx, events)
    if uses:
        generations.add_uses(tx, [(*each, last, number) for each, (last, number) in uses.items()])
    usage_rows.add(tx, hourly)


def _subjects(organization_id: str, occasion: Occasion) -> list[str]:
    """Whose usage it is: the organization's, and a known credential's and its account's."""
    found = [organization_id]
    if occasion.credential_id is not None:
        found.append(occasion.credential_id)
        if occasion.actor_type == "service_account" and occasion.actor_id is not None:
            found.append(occasion.actor_id)
    return found


def _counted(occasion: Occasion, count: Count) -> Event:
    actor = (
        UNKNOWN
        if occasion.credential_id is None
        else Actor(
            "service_account" if occasion.actor_type == "service_account" else "user",
            occasion.actor_id,
            occasion.display,
            occasion.credential_id,
        )
    )
    target = (
        None
        if occasion.credential_id is None
        else Target(
            "session" if is_session(occasion.credential_id) else "credential",
            occasion.credential_id,
            occasion.credential,
        )
    )
    action = "credential.used" if occasion.accepted else "credential.refused"
    reason = occasion.reason
    if occasion.rotated and occasion.accepted:
        reason = "superseded"
    elif occasion.rotated and reason == "revoked":
        action = "credential.used_after_rotation"
    return Event(
        action,
        actor,
        target,
        "success" if occasion.accepted else "refused",
        reason,
        occasion.address,
        details={
            "count": count.number,
            "first": to_text(count.first),
            "last": to_text(count.last),
            "via": occasion.via,
            **({"resource": occasion.resource} if occasion.resource else {}),
        },
    )
