"""A reviewed table of every request body of the API and the kind of each of its fields. Tests are made from
it.

A field without an entry fails `test_bad_input.test_every_member_has_a_line`. A new kind of field needs its
invalid values there. If it names an object, it also needs its foreign names in `test_foreign_ids`.
"""

import copy
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from fastapi.routing import APIRoute
from pydantic import BaseModel

from ostiary.node.app import ROUTERS

CEILINGS = {
    "/max_credentials_per_service_account": "number",
    "/max_credentials_per_organization": "number",
    "/max_service_accounts": "number",
    "/default_credential_lifetime": "length",
    "/max_credential_lifetime": "length",
    "/rate_limit": "uses",
    "/session_lifetime": "session length",
}
LIMITS = CEILINGS | {"/deletion_delay": "delay"}
CHANGED_CREDENTIAL = {
    "/name": "display name",
    "/description": "description",
    "/expires_at": "expiry",
    "/allowed_ips": "addresses",
    "/access_level": "level",
    "/scopes": "scopes",
    "/resources": "resources",
    "/rate_limit": "rate",
}
CREDENTIAL = CHANGED_CREDENTIAL | {"/project": "project"}
OWNED = CREDENTIAL | {"/kind": "kind", "/algorithm": "algorithm", "/compat": "compat"}
CHANGED_ACCOUNT = {
    "/display_name": "display name",
    "/description": "description",
    "/contact_email": "email",
    "/access_level": "level",
    "/scopes": "scopes",
    "/resources": "resources",
    "/projects": "projects",
}


def below(pointer: str, members: Mapping[str, str]) -> dict[str, str]:
    return {pointer + each: kind for each, kind in members.items()}


ROLE = {"/role": "role", "/on": "place"}
LOGIN = {"/token": "signed", "/default_project_code": "default project"}

CHANGED_CLIENT = {
    "/name": "display name",
    "/redirect_uris": "redirects",
    "/grant_types": "grant types",
    "/scopes": "scopes",
    "/auth_method": "auth method",
    "/jwks": "key set",
    "/jwks_uri": "https address",
    "/client_uri": "web address",
    "/project": "own project",
}

MEMBERS: dict[str, dict[str, str]] = {
    "POST /v1/clients": CHANGED_CLIENT | {"/access": "access"},
    "PATCH /v1/clients/{client}": CHANGED_CLIENT,
    "POST /v1/organizations": {"/name": "display name", "/slug": "slug"},
    "PATCH /v1/organizations/{organization_id}": {"/name": "display name", "/suspended": "flag"},
    "PATCH /v1/organizations/{organization_id}/policies": LIMITS | below("/ceilings", CEILINGS),
    "POST /v1/projects": {"/name": "display name", "/code": "code", "/description": "description"},
    "PATCH /v1/projects/{project}": {"/name": "display name", "/description": "description"},
    "PUT /v1/projects/{project}/role-bindings": below(
        "/bindings/0", {"/principal": "principal", "/role": "role"}
    ),
    "PATCH /v1/members/{member}": below("/roles/0", ROLE),
    "POST /v1/invitations": {"/email": "email"} | below("/roles/0", ROLE),
    "POST /v1/roles": {"/name": "role name", "/description": "description", "/scopes": "scopes"},
    "PATCH /v1/roles/{role}": {"/description": "description", "/scopes": "scopes"},
    "POST /v1/scopes": {"/scope": "new scope"},
    "POST /v1/service-accounts": CHANGED_ACCOUNT
    | {"/username": "username"}
    | below("/roles/0", ROLE)
    | below("/credential", OWNED),
    "PATCH /v1/service-accounts/{account}": CHANGED_ACCOUNT,
    "PUT /v1/service-accounts/{account}/role-bindings": below("/bindings/0", ROLE),
    "POST /v1/service-accounts/{account}/credentials": OWNED,
    "POST /v1/api-keys": CREDENTIAL,
    "PATCH /v1/credentials/{credential}": CHANGED_CREDENTIAL,
    "POST /v1/credentials/{credential}/rotate": {"/overlap": "overlap", "/expires_at": "expiry"},
    "POST /v1/credentials/{credential}/rotation": {"/action": "rotation"},
    "POST /v1/credentials/import": {
        "/prefix": "import prefix",
        "/owner": "owner",
        "/exceed_limits": "flag",
        "/dry_run": "flag",
    }
    | below("/keys/0", {"/sha256": "digest", "/name": "display name", "/expires_at": "import expiry"}),
    "POST /v1/import-prefixes": {"/prefix": "new prefix"},
    "POST /v1/sessions": LOGIN,
    "POST /identity/public/v1/api/login": LOGIN,
    "PUT /v1/access-rules/{name}": below(
        "/match/0",
        {
            "/methods": "methods",
            "/path": "rule path",
            "/scopes": "rule scopes",
            "/resource": "rule resource",
        },
    )
    | {
        "/project": "rule project",
        "/kinds": "kinds",
        "/organizations": "rule organizations",
        "/audience": "audience",
        "/assertion": "no",
        "/preflight": "flag",
    },
}

GOOD: dict[str, object] = {
    "display name": "New",
    "slug": "new-slug",
    "email": "new@acme.test",
    "role name": "new-role",
    "new scope": "read:new",
    "role": "viewer",
    "kind": "api_key",
    "rule path": "/**",
    "scopes": [],
    "rotation": "complete",
    "import prefix": "sk_live_",
    "new prefix": "sk_test_",
    "digest": "ab" * 32,
    "signed": "x",
    "redirects": ["https://app.acme.test/callback"],
}
"""A good value of every kind that some body requires; `principal` and `owner` are the test's to say."""


def models() -> dict[str, type[BaseModel]]:
    """Return the model of every route with a body, by route: `POST /v1/projects` and so on."""
    found: dict[str, type[BaseModel]] = {}
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute):
                body = get_type_hints(route.endpoint).get("body")
                if body is not None:
                    found |= {f"{method} {route.path_format}": body for method in route.methods or ()}
    return found


def members_of(model: type[BaseModel], pointer: str = "") -> Iterator[str]:
    """Return the pointers of all fields that have no fields of their own."""
    for name, field in model.model_fields.items():
        inner, is_list = _model_in(field.annotation)
        where = f"{pointer}/{name}"
        if inner is None:
            yield where
        else:
            yield from members_of(inner, f"{where}/0" if is_list else where)


def least(route: str, **given: object) -> dict[str, Any]:
    """Return the smallest valid body of a route: the required fields, or one change if no field is required."""
    body = _least(models()[route], MEMBERS[route], "", given)
    return body or {name: copy.deepcopy(value) for name, value in _CHANGES[route].items()}


def placed(route: str, pointer: str, value: object, **given: object) -> dict[str, Any]:
    """Return a minimal valid body of the route with this value at this pointer."""
    body = _least(models()[route], MEMBERS[route], "", given)
    at: Any = body
    model: type[BaseModel] | None = models()[route]
    where = ""
    *before, last = pointer[1:].split("/")
    for part in before:
        where += f"/{part}"
        if part == "0":
            at = at[0]
            continue
        assert model is not None
        model, is_list = _model_in(model.model_fields[part].annotation)
        assert model is not None
        inside = _least(model, MEMBERS[route], f"{where}/0" if is_list else where, given)
        at[part] = [inside] if is_list else inside
        at = at[part]
    at[last] = value
    return body


_CHANGES: dict[str, dict[str, object]] = {
    "PATCH /v1/organizations/{organization_id}": {"name": "New"},
    "PATCH /v1/organizations/{organization_id}/policies": {"max_credentials_per_service_account": 9},
    "PATCH /v1/projects/{project}": {"name": "New"},
    "PATCH /v1/clients/{client}": {"name": "New"},
    "PATCH /v1/roles/{role}": {"description": "New"},
    "PATCH /v1/service-accounts/{account}": {"display_name": "New"},
    "POST /v1/service-accounts/{account}/credentials": {"name": "New"},
    "POST /v1/api-keys": {"name": "New"},
    "PATCH /v1/credentials/{credential}": {"name": "New"},
    "POST /v1/credentials/{credential}/rotate": {"overlap": "24h"},
}


def _least(
    model: type[BaseModel], kinds: Mapping[str, str], pointer: str, given: Mapping[str, object]
) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            continue
        inner, is_list = _model_in(field.annotation)
        if inner is None:
            kind = kinds[f"{pointer}/{name}"]
            body[name] = given.get(kind, GOOD.get(kind))
        else:
            where = f"{pointer}/{name}/0" if is_list else f"{pointer}/{name}"
            one = _least(inner, kinds, where, given)
            some = any(getattr(each, "min_length", 0) for each in field.metadata)
            body[name] = ([one] if some else []) if is_list else one
    return body


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model of a field or of its list items, and whether it is a list."""
    if get_origin(annotation) is Annotated:
        return _model_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        found = [_model_in(each) for each in get_args(annotation)]
        return next((each for each in found if each[0] is not None), (None, False))
    if get_origin(annotation) is list:
        return _model_in(get_args(annotation)[0])[0], True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    return None, False
