"""The audit log: recording what a caller did, writing counted uses and refusals, reading pages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Final

from ostiary.core.event import UNKNOWN, Actor, Event, Outcome, Target
from ostiary.core.instant import HOUR, to_text
from ostiary.core.model import SUFFIXES, actor_display, credential_label, is_session
from ostiary.core.permission import Caller, require
from ostiary.core.problem import invalid
from ostiary.storage import audit as rows
from ostiary.storage import credentials, directory, generations, members, people, sessions
from ostiary.storage import usage as usage_rows
from ostiary.storage.audit import Filter, Recorded
from ostiary.storage.store import Tx
from ostiary.storage.usage_buffer import Count, UsageEvent


def event_of(
    caller: Caller,
    action: str,
    target: Target | None,
    outcome: Outcome = "success",
    reason: str = "",
    details: Mapping[str, object] | None = None,
) -> Event:
    """Return the event for a caller's action, with the caller's address, user agent and request id."""
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


def record_update(tx: Tx, caller: Caller, action: str, target: Target, before: object, after: object) -> None:
    """Record an update: the names of the changed fields, and their values before and after.

    `before` and `after` are two states of one object: dataclasses of the same class, or mappings. A missing field is
    recorded as null. The caller must not pass objects with secret fields.
    """
    old, new = _loggable(before), _loggable(after)
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    change(
        tx,
        caller,
        action,
        target,
        changed=changed,
        before={name: old.get(name) for name in changed},
        after={name: new.get(name) for name in changed},
    )


def _loggable(state: object) -> dict[str, object]:
    """Return the fields of a state as the log shows them: times as text, tuples as lists, ids under the API's names."""
    if isinstance(state, Mapping):
        return dict(state)
    assert is_dataclass(state)
    found = {each.name: getattr(state, each.name) for each in fields(state)}
    return {
        "project" if name == "project_id" else name: _as_json(name, value) for name, value in found.items()
    }


def _as_json(name: str, value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return to_text(value) if name.endswith("_at") and isinstance(value, int) else value


def record_revocations(tx: Tx, caller: Caller, found: Sequence[tuple[str, str, str]], because: str) -> None:
    """Record that credentials (id, name, last 6) were revoked, in one statement.

    `because` names the change that revoked them.
    """
    targets = (Target("credential", each, credential_label(name, last6)) for each, name, last6 in found)
    details = {"because": because}
    tx.record_all(
        [
            (caller.organization_id, event_of(caller, "credential.revoked", target, details=details))
            for target in targets
        ]
    )


def record_refusal(
    tx: Tx, caller: Caller, method: str, route: str, status: int, code: str, reason: str
) -> None:
    """Record that a request of this caller was refused, with the exact reason that the response leaves out."""
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
    """Return events of the caller's organization. Raises validation-failed for an unknown actor."""
    require(caller, "read:audit")
    if wanted.actor is None:
        return rows.page(tx, caller.organization_id, wanted, before, limit, oldest_first)
    names, known = _actor_names(tx, caller.organization_id, wanted.actor)
    wanted = replace(wanted, actor_names=names)
    found = rows.page(tx, caller.organization_id, wanted, before, limit, oldest_first)
    if not found and not known and not rows.has_actor(tx, caller.organization_id, names):
        raise invalid("/actor", "unknown-actor", "matches no actor in the organization or in its audit log")
    return found


_FINDERS: Final[Mapping[str, Callable[[Tx, str, str], object]]] = {
    "sa": directory.find_service_account,
    "usr": members.get_member,
    "cred": credentials.find,
    "ses": sessions.find,
}
"""Look-up functions for the ids of actors, by prefix."""


def _actor_names(tx: Tx, organization_id: str, text: str) -> tuple[tuple[str, ...], bool]:
    """Return the ids and names that identify this actor in events, and whether the actor exists in the organization.

    The first form that fits is used: an id, a client id, an email, a channel identifier, a username, a display name.
    An event contains the display name that its actor had at that time.
    """
    actor_id = f"sa_{text.removeprefix('ostiary-sa-')}" if text.startswith("ostiary-sa-") else text
    kind, underscore, _ = actor_id.partition("_")
    if underscore and kind in _FINDERS and _FINDERS[kind](tx, organization_id, actor_id) is not None:
        return (actor_id,), True
    username, at, host = text.partition("@")
    if at:
        person = people.find_by_email(tx, text.lower())
        if person is not None:
            known = members.get_member(tx, organization_id, person.id) is not None
            return (person.id, person.email), known
        organization = directory.find_organization(tx, organization_id)
        if organization is not None and host.partition(".")[0] == organization.slug:
            found = directory.account_ids(tx, organization_id, called=username)
            if found:
                return tuple(found), True
    found = directory.account_ids(tx, organization_id, called=text)
    displays = (actor_display(text, each) for each in SUFFIXES)
    return (*found, actor_id, text, *displays), bool(found)


def write_counts(tx: Tx, _caller: Caller, counts: Mapping[UsageEvent, Count]) -> None:
    """Write counted uses and refusals: one event for each occasion, the last use of each secret, and hourly usage.

    Unknown credentials belong to no organization. They are counted for the asking organization, else for the
    operator's.
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
            # A count that spans two hours goes to the later one.
            place = organization_id, subject, count.last // HOUR * HOUR, outcome, occasion.via
            hourly[place] = hourly.get(place, 0) + count.number
    tx.record_all(events)
    if uses:
        generations.add_uses(tx, [(*each, last, number) for each, (last, number) in uses.items()])
    usage_rows.add(tx, hourly)


def _subjects(organization_id: str, occasion: UsageEvent) -> list[str]:
    """Return the ids that the usage is counted for: the organization, and a known credential and its account."""
    found = [organization_id]
    if occasion.credential_id is not None:
        found.append(occasion.credential_id)
        if occasion.actor_type == "service_account" and occasion.actor_id is not None:
            found.append(occasion.actor_id)
    return found


def _counted(occasion: UsageEvent, count: Count) -> Event:
    actor = (
        UNKNOWN
        if occasion.credential_id is None
        else Actor(
            "service_account" if occasion.actor_type == "service_account" else "user",
            occasion.actor_id,
            occasion.display,
            occasion.credential_id,
            occasion.credential_kind,
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
