"""`/v1/credentials` and `/v1/api-keys`."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.api.credential_forms import (
    CreatedJson,
    CredentialBody,
    CredentialChanges,
    CredentialJson,
    NarrowedOf,
    WantedOf,
    created_json,
    credential_json,
)
from ostiary.api.rotation_forms import RotateBody, RotationBody, RotationJson, rotation_json
from ostiary.api.route import (
    Answer,
    ApiRoute,
    CallerOf,
    Listing,
    PageOf,
    Resource,
    answer,
    body_of,
    conflict,
    perform,
    remove,
    resource,
    show,
)
from ostiary.core import key_file
from ostiary.core.key_file import KeyPair
from ostiary.core.model import CredentialFilter
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.http.routing import wiring
from ostiary.services import credentials, rotation

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Credentials"])


@router.post(
    "/api-keys",
    status_code=201,
    responses=conflict("There are as many credentials as there may be."),
)
def create_api_key(
    request: Request, caller: CallerOf, body: Annotated[CredentialBody, Depends(body_of(CredentialBody))]
) -> Answer[CreatedJson]:
    """Make a direct key of the calling user.

    It needs no scope, and gives no more than the presented key has. This is the only answer that ever has its secret.
    A service account gets 403: its keys are made at its own address.
    """
    token_uri = wiring(request).token_uri
    return perform(
        request,
        caller,
        lambda made: created_json(made, token_uri),
        credentials.create_direct,
        body.spec(),
        status=201,
    )


@router.get("/api-keys")
def list_api_keys(
    request: Request, caller: CallerOf, page: PageOf, wanted: NarrowedOf
) -> Answer[Listing[CredentialJson]]:
    """List API keys, newest first.

    They are the credentials of that kind. Needs `read:credentials`; without it a user sees their own direct keys.
    """
    return _list(request, caller, page, replace(wanted, kind="api_key"))


@router.get("/credentials")
def list_credentials(
    request: Request, caller: CallerOf, page: PageOf, wanted: WantedOf
) -> Answer[Listing[CredentialJson]]:
    """List the organization's credentials, newest first.

    Needs `read:credentials`; without it a user sees their own direct keys.
    """
    return _list(request, caller, page, wanted)


@router.get("/credentials/{credential}")
def get_credential(request: Request, caller: CallerOf, credential: str) -> Answer[CredentialJson]:
    """Show a credential.

    Needs `read:credentials`. For one's own direct key nothing is needed, unless the presented key is `fine_grained`.
    """
    return show(request, caller, _credential(credential))


@router.patch("/credentials/{credential}", responses=conflict("It was revoked or has expired."))
def update_credential(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[CredentialChanges, Depends(body_of(CredentialChanges))],
) -> Answer[CredentialJson]:
    """Change a credential.

    The result is checked like a new credential. Needs `write:credentials`, and every scope that it may then use.
    For one's own direct key nothing is needed, unless the presented key is `fine_grained`.
    """
    return perform(
        request,
        caller,
        credential_json,
        credentials.update,
        credential,
        body.changes(),
        current=_credential(credential),
    )


@router.delete(
    "/credentials/{credential}",
    status_code=204,
    responses=conflict(
        "It was not revoked, or not long enough ago: `earliest` says from when on it can be deleted."
    ),
)
def delete_credential(request: Request, caller: CallerOf, credential: str) -> Response:
    """Delete a credential for good.

    It must have been revoked, or have expired, for as long as the deletion delay says. Needs `write:credentials`.
    If the owner is an organization admin, the caller needs every scope that the owner holds.
    For one's own direct key nothing is needed, unless the presented key is `fine_grained`.
    """
    return remove(request, caller, credentials.delete, credential, current=_credential(credential))


@router.post("/credentials/{credential}/deactivate", responses=conflict("It was revoked or has expired."))
def deactivate_credential(request: Request, caller: CallerOf, credential: str) -> Answer[CredentialJson]:
    """Refuse a credential until it is activated again.

    It may be repeated. Needs `write:credentials`. If the owner is an organization admin, the caller needs every scope that
    the owner holds.
    For one's own direct key nothing is needed, unless the presented key is `fine_grained`.
    """
    return perform(
        request, caller, credential_json, credentials.deactivate, credential, current=_credential(credential)
    )


@router.post("/credentials/{credential}/activate", responses=conflict("It was revoked or has expired."))
def activate_credential(request: Request, caller: CallerOf, credential: str) -> Answer[CredentialJson]:
    """Accept a deactivated credential again.

    It may be repeated. Needs `write:credentials`, and every scope that the credential may use.
    For one's own direct key nothing is needed, unless the presented key is `fine_grained`.
    """
    return perform(
        request, caller, credential_json, credentials.activate, credential, current=_credential(credential)
    )


@router.post("/credentials/{credential}/revoke")
def revoke_credential(request: Request, caller: CallerOf, credential: str) -> Answer[CredentialJson]:
    """Refuse a credential for good, at once.

    It may be repeated: the time of the first revocation stays. Needs `write:credentials`.
    If the owner is an organization admin, the caller needs every scope that the owner holds.
    For one's own direct key nothing is needed, unless the presented key is `fine_grained`.
    """
    return perform(
        request, caller, credential_json, credentials.revoke, credential, current=_credential(credential)
    )


@router.post(
    "/credentials/{credential}/rotate",
    status_code=201,
    responses=conflict("It was revoked or has expired, or a rotation is under way."),
)
def rotate_credential(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[RotateBody, Depends(body_of(RotateBody))],
) -> Answer[CreatedJson]:
    """Give a credential a new secret under its id.

    The old one is accepted for the overlap. This is the only answer that ever has the new one; a key file gets a key of
    the same algorithm. Needs
    `write:credentials`, and every scope that the credential may use. For one's own direct key nothing is needed, unless
    the presented key is `fine_grained`.
    """
    token_uri = wiring(request).token_uri
    return perform(
        request,
        caller,
        lambda made: created_json(made, token_uri),
        rotation.rotate,
        credential,
        body.length(),
        body.expiry(),
        _key_pair(request, caller, credential),
        status=201,
        current=_credential(credential),
    )


@router.get("/credentials/{credential}/rotation")
def get_rotation(request: Request, caller: CallerOf, credential: str) -> Answer[RotationJson]:
    """Show how the last rotation of a credential stands.

    `safe_to_revoke` and `reasons` say whether the old secret may go. Needs `read:credentials`. For one's own direct key
    nothing is needed, unless the presented key is `fine_grained`.
    """
    return answer(rotation_json(wiring(request).store.read(rotation.get, caller, credential)))


@router.post(
    "/credentials/{credential}/rotation", responses=conflict("There is no rotation under way, or it is over.")
)
def end_rotation(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[RotationBody, Depends(body_of(RotationBody))],
) -> Answer[RotationJson]:
    """Complete or cancel a rotation.

    Completing ends the old secret now, cancelling the new one. It may be repeated. Needs `write:credentials`. For one's
    own direct key nothing is needed, unless the presented key is `fine_grained`.
    """
    work = rotation.complete if body.action == "complete" else rotation.cancel
    return perform(request, caller, rotation_json, work, credential)


def _key_pair(request: Request, caller: Caller, credential: str) -> KeyPair | None:
    """The pair that a key file is rotated to; None for another kind, and for what may not be rotated.

    It takes so long that it is made before the transaction, which holds up all writers of the organization.
    """
    try:
        algorithm = wiring(request).store.read(rotation.algorithm, caller, credential)
    except Problem as problem:
        if problem.status >= 500:
            raise
        return None  # the rotation says so itself, or gives its first answer again
    return None if algorithm is None else key_file.generate(algorithm)


def _list(
    request: Request, caller: Caller, page: PageOf, wanted: CredentialFilter
) -> Answer[Listing[CredentialJson]]:
    found = wiring(request).store.read(
        credentials.list_page, caller, None, page.after, page.limit + 1, wanted
    )
    return page.answer(found, credential_json, lambda each: each.credential.id)


def _credential(credential: str) -> Resource[CredentialJson]:
    return resource(credential_json, credentials.get, credential)
