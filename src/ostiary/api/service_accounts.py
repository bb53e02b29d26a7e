"""`/v1/service-accounts`. `{account}` is an id, a client id or a channel identifier."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from ostiary.api.account_forms import (
    AccountBody,
    AccountChanges,
    CreatedAccountJson,
    ServiceAccountJson,
    account_json,
)
from ostiary.api.audit_events import AuditEventJson, event_json
from ostiary.api.credential_forms import (
    CreatedJson,
    CredentialJson,
    OwnedCredentialBody,
    WantedOf,
    created_json,
    credential_json,
)
from ostiary.api.forms import RoleBindingsBody, RoleBindingsJson, bindings_json
from ostiary.api.route import (
    Answer,
    ApiRoute,
    CallerOf,
    Listing,
    PageOf,
    Resource,
    body_of,
    conflict,
    perform,
    remove,
    resource,
    show,
)
from ostiary.http.routing import wiring
from ostiary.services import credentials, service_accounts
from ostiary.services.credentials import Created
from ostiary.services.service_accounts import AccountView

router = APIRouter(prefix="/v1/service-accounts", route_class=ApiRoute, tags=["Service accounts"])


@router.post(
    "",
    status_code=201,
    responses=conflict(
        "The username is taken or was used before, or the limit on the number of credentials is reached."
    ),
)
def create_service_account(
    request: Request, caller: CallerOf, body: Annotated[AccountBody, Depends(body_of(AccountBody))]
) -> Answer[CreatedAccountJson]:
    """Create a service account.

    With `credential`, its first credential is created in the same transaction, and only this response
    contains the secret. Needs `write:service-accounts`, for a credential `write:credentials`, and every scope
    of the roles that are given.
    """
    first = body.credential and body.credential.spec_for(caller)
    token_uri = wiring(request).token_uri

    def tell(made: tuple[AccountView, Created | None]) -> CreatedAccountJson:
        view, created = made
        account = account_json(view)
        return (
            {"service_account": account}
            if created is None
            else {"service_account": account, **created_json(created, token_uri)}
        )

    return perform(request, caller, tell, credentials.create_account, body.spec(), first, status=201)


@router.get("")
def list_service_accounts(
    request: Request,
    caller: CallerOf,
    page: PageOf,
    username: Annotated[
        str | None, Query(max_length=64, description="Only the account with this username.")
    ] = None,
    project: Annotated[
        str | None,
        Query(
            max_length=64,
            description="Only accounts with a role on this project (id or code), or with access "
            "to it by another organization's consent (id).",
        ),
    ] = None,
) -> Answer[Listing[ServiceAccountJson]]:
    """List the organization's service accounts, newest first.

    Needs `read:service-accounts`.
    """
    found = wiring(request).store.read(
        service_accounts.list_page, caller, username, page.after, page.limit + 1, project
    )
    return page.answer(found, account_json, lambda each: each.account.id)


@router.get("/{account}")
def get_service_account(request: Request, caller: CallerOf, account: str) -> Answer[ServiceAccountJson]:
    """Show a service account.

    Needs `read:service-accounts`.
    """
    return show(request, caller, _account(account))


@router.patch("/{account}")
def update_service_account(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[AccountChanges, Depends(body_of(AccountChanges))],
) -> Answer[ServiceAccountJson]:
    """Change a service account.

    If you send scopes, the level becomes `fine_grained`. If you send the level `full`, the list of scopes
    becomes empty. The new limits apply to its credentials immediately. Needs `write:service-accounts`, and
    every scope of its roles if more than its display name or description changes.
    """
    return perform(
        request,
        caller,
        account_json,
        service_accounts.update,
        account,
        body.changes(),
        current=_account(account),
    )


@router.delete("/{account}", status_code=204)
def delete_service_account(request: Request, caller: CallerOf, account: str) -> Response:
    """Delete a service account.

    All its credentials are revoked in the same transaction. Its username is never reused. Needs
    `write:service-accounts`, and every scope of its roles.
    """
    return remove(request, caller, service_accounts.delete, account, current=_account(account))


@router.post("/{account}/disable")
def disable_service_account(request: Request, caller: CallerOf, account: str) -> Answer[ServiceAccountJson]:
    """Disable a service account.

    All its credentials are refused until the account is enabled. Disabling it again has no effect. Needs
    `write:service-accounts`, and every scope of its roles.
    """
    return perform(
        request, caller, account_json, service_accounts.set_disabled, account, True, current=_account(account)
    )


@router.post("/{account}/enable")
def enable_service_account(request: Request, caller: CallerOf, account: str) -> Answer[ServiceAccountJson]:
    """Enable a service account.

    Its credentials are accepted again. Enabling it again has no effect. Needs `write:service-accounts`, and
    every scope of its roles.
    """
    return perform(
        request,
        caller,
        account_json,
        service_accounts.set_disabled,
        account,
        False,
        current=_account(account),
    )


@router.get("/{account}/role-bindings")
def list_account_bindings(request: Request, caller: CallerOf, account: str) -> Answer[RoleBindingsJson]:
    """List the roles of a service account.

    Needs `read:service-accounts`.
    """
    return show(request, caller, _bindings(account))


@router.put("/{account}/role-bindings")
def set_account_bindings(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[RoleBindingsBody, Depends(body_of(RoleBindingsBody))],
) -> Answer[RoleBindingsJson]:
    """Replace all role bindings of a service account.

    Needs `write:service-accounts`, and every scope of the roles that are added or removed.
    """
    return perform(
        request,
        caller,
        lambda bindings: RoleBindingsJson(bindings=bindings_json(bindings, caller.organization_id)),
        service_accounts.set_role_bindings,
        account,
        body.specs(),
        current=_bindings(account),
    )


@router.post(
    "/{account}/credentials",
    status_code=201,
    responses=conflict("The account is disabled, or the limit on the number of credentials is reached."),
)
def create_credential(
    request: Request,
    caller: CallerOf,
    account: str,
    body: Annotated[OwnedCredentialBody, Depends(body_of(OwnedCredentialBody))],
) -> Answer[CreatedJson]:
    """Create a credential for a service account.

    Only this response contains the secret: a string, or the JSON object of a key file. Needs
    `write:credentials`, and every scope that the credential can use.
    """
    token_uri = wiring(request).token_uri
    return perform(
        request,
        caller,
        lambda made: created_json(made, token_uri),
        credentials.create,
        account,
        body.spec_for(caller),
        status=201,
    )


@router.get("/{account}/credentials")
def list_account_credentials(
    request: Request, caller: CallerOf, account: str, page: PageOf, wanted: WantedOf
) -> Answer[Listing[CredentialJson]]:
    """List the credentials of a service account, newest first.

    Needs `read:credentials`.
    """
    found = wiring(request).store.read(
        credentials.list_page, caller, account, page.after, page.limit + 1, wanted
    )
    return page.answer(found, credential_json, lambda each: each.credential.id)


@router.get("/{account}/activity")
def list_account_activity(
    request: Request, caller: CallerOf, account: str, page: PageOf
) -> Answer[Listing[AuditEventJson]]:
    """List the activity of a service account, newest first.

    The list has what the account did, and what was done to it and its credentials: uses, failed attempts with
    their IP addresses, and changes. Needs `read:audit`.
    """
    before = None if page.after is None else int(page.after)
    found = wiring(request).store.read(service_accounts.activity, caller, account, before, page.limit + 1)
    return page.answer(found, event_json, lambda each: str(each.seq))


def _account(account: str) -> Resource[ServiceAccountJson]:
    return resource(account_json, service_accounts.get, account)


def _bindings(account: str) -> Resource[RoleBindingsJson]:
    return lambda tx, caller: RoleBindingsJson(
        bindings=bindings_json(
            service_accounts.list_role_bindings(tx, caller, account), caller.organization_id
        )
    )
