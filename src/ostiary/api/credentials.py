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
    responses=conflict("The limit on the number of credentials is reached."),
)
def create_api_key(
    request: Request, caller: CallerOf, body: Annotated[CredentialBody, Depends(body_of(CredentialBody))]
) -> Answer[CreatedJson]:
    """Create a direct key for the calling user.

    It needs no scope. The new key has at most the access of the presented key. Only this response contains
    the secret. A service account gets 403: create its keys at `/v1/service-accounts/{account}/credentials`.
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

    API keys are credentials of the kind `api_key`. Needs `read:credentials`. Without this scope, users see
    only their own direct keys.
    """
    return _list(request, caller, page, replace(wanted, kind="api_key"))


@router.get("/credentials")
def list_credentials(
    request: Request, caller: CallerOf, page: PageOf, wanted: WantedOf
) -> Answer[Listing[CredentialJson]]:
    """List the organization's credentials, newest first.

    Needs `read:credentials`. Without this scope, users see only their own direct keys.
    """
    return _list(request, caller, page, wanted)


@router.get("/credentials/{credential}")
def get_credential(request: Request, caller: CallerOf, credential: str) -> Answer[CredentialJson]:
    """Show a credential.

    Needs `read:credentials`. Users need no scope for their own direct keys, unless the presented key is
    `fine_grained`.
    """
    return show(request, caller, _credential(credential))


@router.patch("/credentials/{credential}", responses=conflict("The credential is revoked or expired."))
def update_credential(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[CredentialChanges, Depends(body_of(CredentialChanges))],
) -> Answer[CredentialJson]:
    """Change a credential.

    The result must satisfy the same rules as a new credential. Needs `write:credentials`, and every scope
    that the changed credential can use. Users need no scope for their own direct keys, unless the presented
    key is `fine_grained`.
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
        "The credential is not revoked, or was revoked too recently: `earliest` is the time "
        "from which it can be deleted."
    ),
)
def delete_credential(request: Request, caller: CallerOf, credential: str) -> Response:
    """Delete a credential permanently.

    The credential must have been revoked or expired for at least the deletion delay. Needs
    `write:credentials`. If the owner is an organization admin, the caller needs every scope that the owner
    holds. Users need no scope for their own direct keys, unless the presented key is `fine_grained`.
    """
    return remove(request, caller, credentials.delete, credential, current=_credential(credential))


@router.post(
    "/credentials/{credential}/deactivate", responses=conflict("The credential is revoked or expired.")
)
def deactivate_credential(request: Request, caller: CallerOf, credential: str) -> Answer[CredentialJson]:
    """Deactivate a credential.

    It is refused until it is activated again. Deactivating it again has no effect. Needs `write:credentials`.
    If the owner is an organization admin, the caller needs every scope that the owner holds. Users need no
    scope for their own direct keys, unless the presented key is `fine_grained`.
    """
    return perform(
        request, caller, credential_json, credentials.deactivate, credential, current=_credential(credential)
    )


@router.post(
    "/credentials/{credential}/activate", responses=conflict("The credential is revoked or expired.")
)
def activate_credential(request: Request, caller: CallerOf, credential: str) -> Answer[CredentialJson]:
    """Activate a deactivated credential.

    Activating it again has no effect. Needs `write:credentials`, and every scope that the credential can use.
    Users need no scope for their own direct keys, unless the presented key is `fine_grained`.
    """
    return perform(
        request, caller, credential_json, credentials.activate, credential, current=_credential(credential)
    )


@router.post("/credentials/{credential}/revoke")
def revoke_credential(request: Request, caller: CallerOf, credential: str) -> Answer[CredentialJson]:
    """Revoke a credential permanently.

    It is refused immediately. Revoking it again does not change the time of revocation. Needs
    `write:credentials`. If the owner is an organization admin, the caller needs every scope that the owner
    holds. Users need no scope for their own direct keys, unless the presented key is `fine_grained`.
    """
    return perform(
        request, caller, credential_json, credentials.revoke, credential, current=_credential(credential)
    )


@router.post(
    "/credentials/{credential}/rotate",
    status_code=201,
    responses=conflict("The credential is revoked or expired, or a rotation is in progress."),
)
def rotate_credential(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[RotateBody, Depends(body_of(RotateBody))],
) -> Answer[CreatedJson]:
    """Rotate a credential: replace its secret and keep its id.

    The old secret is accepted until the overlap ends. Only this response contains the new secret. A key file
    gets a new key of the same algorithm. Needs `write:credentials`, and every scope that the credential can
    use. Users need no scope for their own direct keys, unless the presented key is `fine_grained`.
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
    """Show the status of a credential's last rotation.

    `safe_to_revoke` and `reasons` say whether you can safely revoke the old secret. Needs `read:credentials`.
    Users need no scope for their own direct keys, unless the presented key is `fine_grained`.
    """
    return answer(rotation_json(wiring(request).store.read(rotation.get, caller, credential)))


@router.post(
    "/credentials/{credential}/rotation", responses=conflict("No rotation is in progress, or it has ended.")
)
def end_rotation(
    request: Request,
    caller: CallerOf,
    credential: str,
    body: Annotated[RotationBody, Depends(body_of(RotationBody))],
) -> Answer[RotationJson]:
    """Complete or cancel a rotation.

    Completing it ends the old secret immediately. Cancelling it ends the new secret. Repeating the call has
    no effect. Needs `write:credentials`. Users need no scope for their own direct keys, unless the presented
    key is `fine_grained`.
    """
    work = rotation.complete if body.action == "complete" else rotation.cancel
    return perform(request, caller, rotation_json, work, credential)


def _key_pair(request: Request, caller: Caller, credential: str) -> KeyPair | None:
    """Return the key pair for rotating a key file. Return None for other kinds, or if the caller may not
    rotate it.

    Creating a pair is slow, so it happens before the transaction, which blocks all other writers of the
    organization.
    """
    try:
        algorithm = wiring(request).store.read(rotation.algorithm, caller, credential)
    except Problem as problem:
        if problem.status >= 500:
            raise
        return None  # the rotation reports the error itself, or repeats its first response
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
