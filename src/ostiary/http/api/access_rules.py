"""`/v1/access-rules`: which scopes a request forwarded by a proxy needs. The operator's."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.core.permission import Caller
from ostiary.http.api.forms import AccessRuleBody
from ostiary.http.api.route import ApiRoute, CallerOf, answer, answer_one, body_of, nothing, perform, wiring
from ostiary.services import authorization
from ostiary.storage.store import Tx

router = APIRouter(prefix="/v1/access-rules", route_class=ApiRoute, tags=["Access rules"])


@router.get("")
def list_rules(request: Request, caller: CallerOf) -> Response:
    rules = wiring(request).store.read(authorization.list_rules, caller)
    return answer({"data": [{"name": name} | rule for name, rule in rules.items()], "next_cursor": None})


@router.get("/{name}")
def get(request: Request, caller: CallerOf, name: str) -> Response:
    return answer_one({"name": name} | wiring(request).store.read(authorization.get_rule, caller, name))


@router.put("/{name}")
def put(
    request: Request,
    caller: CallerOf,
    name: str,
    body: Annotated[AccessRuleBody, Depends(body_of(AccessRuleBody))],
) -> Response:
    return perform(
        request,
        caller,
        lambda rule: {"name": name} | rule,
        authorization.put_rule,
        name,
        body.document(),
        current=_current(name),
    )


@router.delete("/{name}", status_code=204)
def delete(request: Request, caller: CallerOf, name: str) -> Response:
    perform(
        request,
        caller,
        lambda _: {},
        authorization.delete_rule,
        name,
        current=_current(name),
    )
    return nothing()


def _current(name: str) -> Callable[[Tx, Caller], dict[str, Any]]:
    return lambda tx, caller: {"name": name} | authorization.get_rule(tx, caller, name)
