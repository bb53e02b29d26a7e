"""The audit log: recording a caller's act, writing counted uses and refusals, reading pages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Final

from ostiary.core.event import UNKNOWN, Actor, Event, Outcome, Target
from ostiary.core.instant import HOUR, to_text
from ostiary.core.model import SUFFIXES, actor_display, is_session, label_of
from ostiary.core.permission import Caller, require
from ostiary.core.problem import invalid
from ostiary.storage import audit as rows
from ostiary.storage import credentials, directory, generations, members, people, sessions
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


def updated(tx: Tx, caller: Caller, action: str, target: Target, before: object, after: object) -> None:
    """Record an update: the changed fields, and their values before and after, none of them secret.

    `before` and `after` are two states of one object: records of the same class, or mappings. A missing field is null.
    """
    old, new = _members(before), _members(after)
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


def _members(state: object) -> dict[str, object]:
    """Return the fields of a state as the log shows them: times as text, tuples as lists, ids under the API's names."""
    if isinstance(state, Mapping):
        return dict(state)
    assert is_dataclass(state)
    found = {each.name: getattr(state, each.name) for each in fields(state)}
    return {"project" if name == "project_id" else name: _told(name, value) for name, value in found.items()}


def _told(name: str, value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return to_text(value) if name.endswith("_at") and isinstance(value, int) else value


def revoked(tx: Tx, caller: Caller, found: Sequence[tuple[str, str, str]], because: str) -> None:
    """Record that credentials (id, name, last 6) were revoked with what they belonged to, in one statement."""
    targets = (Target("credential", each, label_of(name, last6)) for each, name, last6 in found)
    details = {"because": because}
    tx.record_all(
        [
            (caller.organization_id, event_of(caller, "credential.revoked", target, details=details))
            for target in targets
        ]
    )


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
    """Return events of the caller's organization. Raises validation-failed for an unknown actor."""
    require(caller, "read:audit")
    if wanted.actor is None:
        return rows.page(tx, caller.organization_id, wanted, before, limit, oldest_first)
    names, known = _actor_names(tx, caller.organization_id, wanted.actor)
    wanted = replace(wanted, actor_names=names)
    found = rows.page(tx, caller.organization_id, wanted, before, limit, oldest_first)
    if not found and not known and not rows.has_actor(tx, caller.organization_id, names):
        raise invalid(
            "/actor", "unknown-actor", "names nobody who is in the organization, or in its audit log"
        )
    return found


_FINDERS: Final[Mapping[str, Callable[[Tx, str, str], object]]] = {
    "sa": directory.find_service_account,
    "usr": members.get_member,
    "cred": credentials.find,
    "ses": sessions.find,
}
"""Look-up functions for the ids of actors, by prefix."""


def _actor_names(tx: Tx, organization_id: str, text: str) -> tuple[tuple[str, ...], bool]:
    """Return the names under which events have this actor, and whether the organization has such an actor.

    The text is read as the first that fits: an id, a client id, an email, a channel identifier, a username, a display
    name. Events have the display name of their time.
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
    tx.record_all(events)
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
