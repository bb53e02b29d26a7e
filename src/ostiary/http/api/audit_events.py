"""`/v1/audit-events`: newest first, or oldest first to follow."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ostiary.core.event import CATEGORIES, EVENTS, actions_in
from ostiary.core.instant import Instant, from_text
from ostiary.core.problem import FieldError, invalid, invalid_fields
from ostiary.http.api.forms import event_json
from ostiary.http.api.route import ApiRoute, CallerOf, PageOf, wiring
from ostiary.services import audit
from ostiary.storage.audit import Filter

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Audit"])


@router.get("/audit-events")
def list_events(
    request: Request,
    caller: CallerOf,
    page: PageOf,
    category: Annotated[
        str | None, Query(alias="filter", description="auth, credentials, directory, access")
    ] = None,
    actor: Annotated[str | None, Query(description="An id, a credential's id or a display name")] = None,
    target: Annotated[str | None, Query(description="An id")] = None,
    action: Annotated[str | None, Query(description="Such as credential.revoked")] = None,
    since: Annotated[str | None, Query(description="RFC 3339; this instant and later")] = None,
    until: Annotated[str | None, Query(description="RFC 3339; before this instant")] = None,
    order: Annotated[str | None, Query(description="newest (default) or oldest")] = None,
) -> Response:
    errors: list[FieldError] = []
    if category is not None and category not in CATEGORIES:
        errors.append(FieldError("/filter", "invalid", f"must be one of {', '.join(CATEGORIES)}"))
    if action is not None and action not in EVENTS:
        errors.append(FieldError("/action", "invalid", "is not in the list of events"))
    if order not in (None, "newest", "oldest"):
        errors.append(FieldError("/order", "invalid", "must be newest or oldest"))
    first, last = _time("/since", since, errors), _time("/until", until, errors)
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
    return page.answer([event_json(each) for each in found], lambda: str(found[page.limit - 1].seq))


def _time(pointer: str, text: str | None, errors: list[FieldError]) -> Instant | None:
    try:
        return None if text is None else from_text(text)
    except ValueError as error:
        errors.append(FieldError(pointer, "invalid", str(error)))
        return None
