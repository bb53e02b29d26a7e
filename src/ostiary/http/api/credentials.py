"""`/v1/credentials` and `/v1/api-keys`."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.http.api.forms import CredentialBody, CredentialChanges, credential_json
from ostiary.http.api.route import ApiRoute, CallerOf, PageOf, answer, body_of, nothing, wiring
from ostiary.services import credentials

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Credentials"])


@router.post("/api-keys", status_code=201)
def create_direct(
    request: Request, caller: CallerOf, body: Annotated[CredentialBody, Depends(body_of(CredentialBody))]
) -> Response:
    created = wiring(request).store.write(credentials.create_direct, caller, body.spec())
    return answer({"credential": credential_json(created.listed), "secret": created.secret.reveal()}, 201)


@router.get("/api-keys")
def list_api_keys(request: Request, caller: CallerOf, page: PageOf) -> Response:
    return _list(request, caller, page)


@router.get("/credentials")
def list_credentials(request: Request, caller: CallerOf, page: PageOf) -> Response:
    return _list(request, caller, page)


@router.get("/credentials/{credential}")
def get(request: Request, caller: CallerOf, credential: str) -> Response:
    return answer(credential_json(wiring(request).store.read(credentials.get, caller, credential)))


@router.patch("/credentials/{credential}")
def update(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[CredentialChanges, Depends(body_of(CredentialChanges))],
) -> Response:
    return answer(
        credential_json(wiring(request).store.write(credentials.update, caller, credential, body.changes()))
    )


@router.delete("/credentials/{credential}", status_code=204)
def delete(request: Request, caller: CallerOf, credential: str) -> Response:
    wiring(request).store.write(credentials.delete, caller, credential)
    return nothing()


@router.post("/credentials/{credential}/deactivate")
def deactivate(request: Request, caller: CallerOf, credential: str) -> Response:
    return answer(credential_json(wiring(request).store.write(credentials.deactivate, caller, credential)))


@router.post("/credentials/{credential}/activate")
def activate(request: Request, caller: CallerOf, credential: str) -> Response:
    return answer(credential_json(wiring(request).store.write(credentials.activate, caller, credential)))


@router.post("/credentials/{credential}/revoke")
def revoke(request: Request, caller: CallerOf, credential: str) -> Response:
    return answer(credential_json(wiring(request).store.write(credentials.revoke, caller, credential)))


def _list(request: Request, caller: CallerOf, page: PageOf) -> Response:
    # API keys are the only kind that exists, so both lists are the same one.
    found = wiring(request).store.read(credentials.list_page, caller, None, None, page.after, page.limit + 1)
    return page.answer([credential_json(each) for each in found], lambda: found[page.limit - 1].credential.id)
