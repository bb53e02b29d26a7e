"""`/v1/service-accounts`. `{account}` is an id, a client id or a channel identifier."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from ostiary.core.permission import Caller
from ostiary.http.api.forms import (
    AccountBody,
    AccountChanges,
    OwnedCredentialBody,
    RoleBindingsBody,
    account_json,
    bindings_json,
    created_json,
    credential_json,
)
from ostiary.http.api.route import (
    ApiRoute,
    CallerOf,
    PageOf,
    answer_one,
    body_of,
    nothing,
    perform,
    wiring,
)
from ostiary.services import credentials, directory
from ostiary.services.credentials import Created
from ostiary.services.directory import AccountView
from ostiary.storage.store import Tx

router = APIRouter(prefix="/v1/service-accounts", route_class=ApiRoute, tags=["Service accounts"])


@router.post("", status_code=201)
def create(
    request: Request, caller: CallerOf, body: Annotated[AccountBody, Depends(body_of(AccountBody))]
) -> Response:
    first = body.credential and body.credential.spec()
    return perform(request, caller, _told, credentials.create_account, body.spec(), first, status=201)


def _told(made: tuple[AccountView, Created | None]) -> dict[str, Any]:
    view, created = made
    value = {"service_account": account_json(view)}
    return value if created is None else value | created_json(created)


@router.get("")
def list_accounts(
    request: Request,
    caller: CallerOf,
    page: PageOf,
    username: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    found = wiring(request).store.read(
        directory.list_service_accounts, caller, username, page.after, page.limit + 1
    )
    return page.answer([account_json(each) for each in found], lambda: found[page.limit - 1].account.id)


@router.get("/{account}")
def get(request: Request, caller: CallerOf, account: str) -> Response:
    return answer_one(
        account_json(wiring(request).store.read(directory.get_service_account, caller, account))
    )


@router.patch("/{account}")
def update(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[AccountChanges, Depends(body_of(AccountChanges))],
) -> Response:
    return perform(
        request,
        caller,
        account_json,
        directory.update_service_account,
        account,
        body.changes(),
        current=_current(account),
    )


@router.delete("/{account}", status_code=204)
def delete(request: Request, caller: CallerOf, account: str) -> Response:
    perform(
        request, caller, lambda _: {}, directory.delete_service_account, account, current=_current(account)
    )
    return nothing()


@router.post("/{account}/disable")
def disable(request: Request, caller: CallerOf, account: str) -> Response:
    return perform(
        request, caller, account_json, directory.set_disabled, account, True, current=_current(account)
    )


@router.post("/{account}/enable")
def enable(request: Request, caller: CallerOf, account: str) -> Response:
    return perform(
        request, caller, account_json, directory.set_disabled, account, False, current=_current(account)
    )


@router.get("/{account}/role-bindings")
def list_role_bindings(request: Request, caller: CallerOf, account: str) -> Response:
    bindings = wiring(request).store.read(directory.list_role_bindings, caller, account)
    return answer_one({"bindings": bindings_json(bindings, caller.organization_id)})


@router.put("/{account}/role-bindings")
def set_role_bindings(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[RoleBindingsBody, Depends(body_of(RoleBindingsBody))],
) -> Response:
    return perform(
        request,
        caller,
        lambda bindings: {"bindings": bindings_json(bindings, caller.organization_id)},
        directory.set_role_bindings,
        account,
        body.specs(),
        current=lambda tx, who: {
            "bindings": bindings_json(directory.list_role_bindings(tx, who, account), who.organization_id)
        },
    )


@router.post("/{account}/credentials", status_code=201)
def create_credential(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[OwnedCredentialBody, Depends(body_of(OwnedCredentialBody))],
) -> Response:
    return perform(request, caller, created_json, credentials.create, account, body.spec(), status=201)


@router.get("/{account}/credentials")
def list_credentials(request: Request, caller: CallerOf, account: str, page: PageOf) -> Response:
    found = wiring(request).store.read(
        credentials.list_page, caller, account, None, page.after, page.limit + 1
    )
    return page.answer([credential_json(each) for each in found], lambda: found[page.limit - 1].credential.id)


def _current(account: str) -> Callable[[Tx, Caller], dict[str, Any]]:
    return lambda tx, caller: account_json(directory.get_service_account(tx, caller, account))
