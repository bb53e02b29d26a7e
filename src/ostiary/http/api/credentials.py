"""`/v1/credentials` and `/v1/api-keys`."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.core.permission import Caller
from ostiary.http.api.forms import (
    CredentialBody,
    CredentialChanges,
    RotateBody,
    RotationBody,
    created_json,
    credential_json,
    rotation_json,
)
from ostiary.http.api.route import (
    ApiRoute,
    CallerOf,
    PageOf,
    answer,
    answer_one,
    body_of,
    nothing,
    perform,
    wiring,
)
from ostiary.services import credentials, rotation
from ostiary.storage.store import Tx

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Credentials"])


@router.post("/api-keys", status_code=201)
def create_direct(
    request: Request, caller: CallerOf, body: Annotated[CredentialBody, Depends(body_of(CredentialBody))]
) -> Response:
    return perform(request, caller, created_json, credentials.create_direct, body.spec(), status=201)


@router.get("/api-keys")
def list_api_keys(request: Request, caller: CallerOf, page: PageOf) -> Response:
    return _list(request, caller, page)


@router.get("/credentials")
def list_credentials(request: Request, caller: CallerOf, page: PageOf) -> Response:
    return _list(request, caller, page)


@router.get("/credentials/{credential}")
def get(request: Request, caller: CallerOf, credential: str) -> Response:
    return answer_one(credential_json(wiring(request).store.read(credentials.get, caller, credential)))


@router.patch("/credentials/{credential}")
def update(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[CredentialChanges, Depends(body_of(CredentialChanges))],
) -> Response:
    return perform(
        request,
        caller,
        credential_json,
        credentials.update,
        credential,
        body.changes(),
        current=_current(credential),
    )


@router.delete("/credentials/{credential}", status_code=204)
def delete(request: Request, caller: CallerOf, credential: str) -> Response:
    perform(request, caller, lambda _: {}, credentials.delete, credential, current=_current(credential))
    return nothing()


@router.post("/credentials/{credential}/deactivate")
def deactivate(request: Request, caller: CallerOf, credential: str) -> Response:
    return perform(
        request, caller, credential_json, credentials.deactivate, credential, current=_current(credential)
    )


@router.post("/credentials/{credential}/activate")
def activate(request: Request, caller: CallerOf, credential: str) -> Response:
    return perform(
        request, caller, credential_json, credentials.activate, credential, current=_current(credential)
    )


@router.post("/credentials/{credential}/revoke")
def revoke(request: Request, caller: CallerOf, credential: str) -> Response:
    return perform(
        request, caller, credential_json, credentials.revoke, credential, current=_current(credential)
    )


@router.post("/credentials/{credential}/rotate", status_code=201)
def rotate(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[RotateBody, Depends(body_of(RotateBody))],
) -> Response:
    return perform(
        request,
        caller,
        created_json,
        rotation.rotate,
        credential,
        body.length(),
        body.expiry(),
        status=201,
        current=_current(credential),
    )


@router.get("/credentials/{credential}/rotation")
def get_rotation(request: Request, caller: CallerOf, credential: str) -> Response:
    return answer(rotation_json(wiring(request).store.read(rotation.get, caller, credential)))


@router.post("/credentials/{credential}/rotation")
def end_rotation(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[RotationBody, Depends(body_of(RotationBody))],
) -> Response:
    work = rotation.complete if body.action == "complete" else rotation.cancel
    return perform(request, caller, rotation_json, work, credential)


def _list(request: Request, caller: CallerOf, page: PageOf) -> Response:
    # API keys are the only kind that exists, so both lists are the same one.
    found = wiring(request).store.read(credentials.list_page, caller, None, None, page.after, page.limit + 1)
    return page.answer([credential_json(each) for each in found], lambda: found[page.limit - 1].credential.id)


def _current(credential: str) -> Callable[[Tx, Caller], dict[str, Any]]:
    return lambda tx, caller: credential_json(credentials.get(tx, caller, credential))
