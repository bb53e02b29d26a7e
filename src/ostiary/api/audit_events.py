"""`/v1/audit-events`: the audit log, newest first, or oldest first to follow it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import WithJsonSchema
from starlette.requests import Request
from typing_extensions import TypedDict

from ostiary.api.forms import INSTANT, Time, instant
from ostiary.api.route import Answer, ApiRoute, CallerOf, Listing, PageOf
from ostiary.core.event import CATEGORIES, EVENTS, ActorType, OriginKind, Outcome, actions_in
from ostiary.core.instant import to_text
from ostiary.core.problem import FieldError, invalid, invalid_fields
from ostiary.http.routing import wiring
from ostiary.services import audit
from ostiary.storage.audit import Filter, Recorded

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Audit"])


class EventActorJson(TypedDict):
    """The actor of the event, with the name that it had then."""

    type: ActorType
    id: str | None
    display: str
    credential_id: str | None
    """The credential or session that the actor used. For a token, the credential or session that it was issued from."""
    credential_kind: OriginKind | None
    """`api_key`, `client_secret`, `key_file` or `session`."""
    token_id: str | None
    """The token or session that was presented in place of the credential."""


class EventTargetJson(TypedDict):
    """The object of the event, with the name that it had then."""

    type: str
    id: str
    display: str


class AuditEventJson(TypedDict):
    """What happened, who did it, and to which object."""

    id: str
    time: Time
    action: str
    actor: EventActorJson
    target: EventTargetJson | None
    outcome: Outcome
    reason: str
    address: str | None
    user_agent: str
    request_id: str
    details: dict[str, Any]
    """The details that the list of audit events names for this action."""


def event_json(event: Recorded) -> AuditEventJson:
    return {
        "id": event.id,
        "time": to_text(event.time),
        "action": event.action,
        "actor": {
            "type": event.actor_type,
            "id": event.actor_id,
            "display": event.actor_display,
            "credential_id": event.actor_credential_id,
            "credential_kind": event.actor_credential_kind,
            "token_id": event.actor_token_id,
        },
        "target": _target(event),
        "outcome": event.outcome,
        "reason": event.reason,
        "address": event.address,
        "user_agent": event.user_agent,
        "request_id": event.request_id,
        "details": event.details,
    }


def _target(event: Recorded) -> EventTargetJson | None:
    if event.target_type is None or event.target_id is None or event.target_display is None:
        return None
    return {"type": event.target_type, "id": event.target_id, "display": event.target_display}


@router.get("/audit-events")
def list_audit_events(
    request: Request,
    caller: CallerOf,
    page: PageOf,
    category: Annotated[
        str | None,
        Query(alias="filter", description="Only events of this category."),
        WithJsonSchema({"type": "string", "enum": list(CATEGORIES)}),
    ] = None,
    actor: Annotated[
        str | None,
        Query(
            description="Only events of this actor: an id, an email, a username, a channel identifier, a client id, a "
            "credential's id or a display name. 422 if no such actor is known."
        ),
    ] = None,
    target: Annotated[str | None, Query(description="Only events about the object with this id.")] = None,
    action: Annotated[
        str | None,
        Query(description="Only events with this action."),
        WithJsonSchema({"type": "string", "enum": list(EVENTS)}),
    ] = None,
    since: Annotated[
        str | None, Query(description="Only events at or after this instant: RFC 3339 with a zone."), INSTANT
    ] = None,
    until: Annotated[
        str | None, Query(description="Only events before this instant: RFC 3339 with a zone."), INSTANT
    ] = None,
    order: Annotated[
        str | None,
        Query(description="The order of the events. `oldest` lets you follow the log."),
        WithJsonSchema({"type": "string", "enum": ["newest", "oldest"], "default": "newest"}),
    ] = None,
) -> Answer[Listing[AuditEventJson]]:
    """Read the audit log.

    Each change is recorded in the same transaction. Uses and refused credentials are counted. They are
    written every ten seconds as one event with `count`, `first` and `last`. Needs `read:audit`.
    """
    errors: list[FieldError] = []
    if category is not None and category not in CATEGORIES:
        errors.append(FieldError("/filter", "invalid", f"must be one of {', '.join(CATEGORIES)}"))
    if action is not None and action not in EVENTS:
        errors.append(FieldError("/action", "invalid", "is not in the list of events"))
    if order not in (None, "newest", "oldest"):
        errors.append(FieldError("/order", "invalid", "must be newest or oldest"))
    first, last = instant("/since", since, errors), instant("/until", until, errors)
    if errors:
        raise invalid_fields(tuple(errors))
    if first is not None and last is not None and first > last:
        raise invalid("/since", "invalid", "must not lie after until")
    actions = actions_in(category) if category else ()
    if action is not None:
        actions = (action,) if not actions or action in actions else ("",)
    found = wiring(request).store.read(
        audit.page,
        caller,
        Filter(actions, actor, target, first, last),
        None if page.after is None else int(page.after),
        page.limit + 1,
        order == "oldest",
    )
    return page.answer(found, event_json, lambda each: str(each.seq))
