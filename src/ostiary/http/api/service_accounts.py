"""`/v1/service-accounts`. `{account}` is an id, a client id or a channel identifier."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from ostiary.http.api.forms import (
    AccountBody,
    AccountChanges,
    OwnedCredentialBody,
    RoleBindingsBody,
    account_json,
    bindings_json,
    credential_json,
)
from ostiary.http.api.route import ApiRoute, CallerOf, PageOf, answer, body_of, nothing, wiring
from ostiary.services import credentials, directory

router = APIRouter(prefix="/v1/service-accounts", route_class=ApiRoute, tags=["Service accounts"])


@router.post("", status_code=201)
def create(
    request: Request, caller: CallerOf, body: Annotated[AccountBody, Depends(body_of(AccountBody))]
) -> Response:
    view, created = wiring(request).store.write(
        credentials.create_account, caller, body.spec(), body.credential and body.credential.spec()
    )
    value: dict[str, object] = {"service_account": account_json(view)}
    if created is not None:
        value |= {"credential": credential_json(created.listed), "secret": created.secret.reveal()}
    return answer(value, 201)


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
    return answer(account_json(wiring(request).store.read(directory.get_service_account, caller, account)))


@router.patch("/{account}")
def update(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[AccountChanges, Depends(body_of(AccountChanges))],
) -> Response:
    view = wiring(request).store.write(directory.update_service_account, caller, account, body.changes())
    return answer(account_json(view))


@router.delete("/{account}", status_code=204)
def delete(request: Request, caller: CallerOf, account: str) -> Response:
    wiring(request).store.write(directory.delete_service_account, caller, account)
    return nothing()


@router.post("/{account}/disable")
def disable(request: Request, caller: CallerOf, account: str) -> Response:
    return answer(account_json(wiring(request).store.write(directory.set_disabled, caller, account, True)))


@router.post("/{account}/enable")
def enable(request: Request, caller: CallerOf, account: str) -> Response:
    return answer(account_json(wiring(request).store.write(directory.set_disabled, caller, account, False)))


@router.get("/{account}/role-bindings")
def list_role_bindings(request: Request, caller: CallerOf, account: str) -> Response:
    bindings = wiring(request).store.read(directory.list_role_bindings, caller, account)
    return answer({"bindings": bindings_json(bindings, caller.organization_id)})


@router.put("/{account}/role-bindings")
def set_role_bindings(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[RoleBindingsBody, Depends(body_of(RoleBindingsBody))],
) -> Response:
    bindings = wiring(request).store.write(directory.set_role_bindings, caller, account, body.specs())
    return answer({"bindings": bindings_json(bindings, caller.organization_id)})


@router.post("/{account}/credentials", status_code=201)
def create_credential(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[OwnedCredentialBody, Depends(body_of(OwnedCredentialBody))],
) -> Response:
    created = wiring(request).store.write(credentials.create, caller, account, body.spec())
    return answer({"credential": credential_json(created.listed), "secret": created.secret.reveal()}, 201)


@router.get("/{account}/credentials")
def list_credentials(request: Request, caller: CallerOf, account: str, page: PageOf) -> Response:
    found = wiring(request).store.read(
        credentials.list_page, caller, account, None, page.after, page.limit + 1
    )
    return page.answer([credential_json(each) for each in found], lambda: found[page.limit - 1].credential.id)
