"""P19 in small: a reviewed table of who may do what. A route without an entry fails the test."""

import itertools
from collections.abc import Callable, Mapping

import pytest

from ostiary.core.model import RoleBinding
from ostiary.services import (
    access_rules,
    clients,
    consents,
    credentials,
    imports,
    members,
    organizations,
    projects,
    roles,
    rotation,
)
from ostiary.services.clients import ClientSpec
from ostiary.services.consents import ConsentRequest
from ostiary.services.issuance import CredentialSpec
from tests.api.routes import methods_of
from tests.cast import Front, House

_numbers = itertools.count()

pytestmark = pytest.mark.promise("P19")

# nobody      sends no credential
# stranger    Charlie: organization-admin of Umbrella, who requests Acme's objects
# viewer      Bob: a direct key of a viewer of Acme
# developer   Robo: a service account with the role developer
# resource    a service account with the role resource-server
# narrow      Alice's direct key with read:service-accounts, write:credentials and read:agents only
# partner     a service account with the role organization-admin of the operator's organization
# admin       Alice: organization-admin and operator-admin of the operator's organization
WHO = ("nobody", "stranger", "viewer", "developer", "resource", "narrow", "partner", "admin")

REVIEWED = """
                                                      nobody stranger viewer developer resource narrow partner admin
GET    /healthz                                        200    200      200    200       200      200    200     200
GET    /readyz                                         200    200      200    200       200      200    200     200
GET    /metrics                                        404    404      404    404       404      404    404     404
GET    /openapi.json                                   200    200      200    200       200      200    200     200
GET    /.well-known/jwks.json                         200    200      200    200       200      200    200     200
GET    /oauth2/ostiary/v1/keys                        200    200      200    200       200      200    200     200
GET    /.well-known/oauth-authorization-server        200    200      200    200       200      200    200     200
GET    /.well-known/openid-configuration              200    200      200    200       200      200    200     200
GET    /.well-known/oauth-authorization-server/oauth2/ostiary 200    200      200    200       200      200    200     200
GET    /.well-known/openid-configuration/oauth2/ostiary 200    200      200    200       200      200    200     200
GET    /oauth2/ostiary/.well-known/oauth-authorization-server 200    200      200    200       200      200    200     200
GET    /oauth2/ostiary/.well-known/openid-configuration 200    200      200    200       200      200    200     200
OPTIONS /.well-known/jwks.json                         204    204      204    204       204      204    204    204
OPTIONS /oauth2/ostiary/v1/keys                        204    204      204    204       204      204    204    204
OPTIONS /.well-known/oauth-authorization-server        204    204      204    204       204      204    204    204
OPTIONS /.well-known/openid-configuration              204    204      204    204       204      204    204    204
OPTIONS /.well-known/oauth-authorization-server/oauth2/ostiary 204    204      204    204       204      204    204    204
OPTIONS /.well-known/openid-configuration/oauth2/ostiary 204    204      204    204       204      204    204    204
OPTIONS /oauth2/ostiary/.well-known/oauth-authorization-server 204    204      204    204       204      204    204    204
OPTIONS /oauth2/ostiary/.well-known/openid-configuration 204    204      204    204       204      204    204    204
OPTIONS /oauth/token                                   204    204      204    204       204      204    204    204
OPTIONS /oauth2/ostiary/v1/token                       204    204      204    204       204      204    204    204
OPTIONS /oauth/token/revoke                            204    204      204    204       204      204    204    204
OPTIONS /oauth/revoke                                  204    204      204    204       204      204    204    204
OPTIONS /oauth/device/authorize                        204    204      204    204       204      204    204    204
OPTIONS /oauth/register                                204    204      204    204       204      204    204    204
GET    /                                               303    303      303    303       303      303    303     303
GET    /sign-in                                        200    200      200    200       200      200    200     200
POST   /sign-in                                        400    400      400    400       400      400    400     400
POST   /sign-out                                       400    400      400    400       400      400    400     400
GET    /account                                        303    303      303    303       303      303    303     303
POST   /account/sessions/revoke                        400    400      400    400       400      400    400     400
POST   /account/sign-out-everywhere                    400    400      400    400       400      400    400     400
POST   /account/grants/withdraw                        400    400      400    400       400      400    400     400
POST   /account/password                               400    400      400    400       400      400    400     400
GET    /invitations/accept                             404    404      404    404       404      404    404     404
POST   /invitations/accept                             400    400      400    400       400      400    400     400
GET    /password/reset                                 404    404      404    404       404      404    404     404
POST   /password/reset                                 400    400      400    400       400      400    400     400
GET    /docs                                           200    200      200    200       200      200    200     200
GET    /docs/style.css                                 200    200      200    200       200      200    200     200
GET    /docs/{page}                                    200    200      200    200       200      200    200     200
GET    /pages/style.css                                200    200      200    200       200      200    200     200
GET    /v1/capabilities                                401    200      200    200       200      200    200     200
POST   /v1/verify                                      401    200      403    403       200      403    200     200
GET    /v1/authorize/{rule}                            401    200      200    200       200      200    200     200
GET    /v1/authorize/{rule}/{path}                     401    200      200    200       403      200    200     200
GET    /v1/authorize-nginx/{rule}                      401    200      200    200       200      200    200     200
GET    /v1/agents                                      401    200      200    200       200      200    200     200
GET    /v1/organizations                               401    200      403    403       403      403    200     200
POST   /v1/organizations                               401    403      403    403       403      403    403     201
GET    /v1/organizations/{organization_id}             401    404      403    403       403      403    200     200
PATCH  /v1/organizations/{organization_id}             401    404      403    403       403      403    200     200
GET    /v1/organizations/{organization_id}/policies    401    404      403    403       403      403    200     200
PATCH  /v1/organizations/{organization_id}/policies    401    404      403    403       403      403    200     200
GET    /v1/projects                                    401    200      403    403       403      403    200     200
POST   /v1/projects                                    401    201      403    403       403      403    201     201
GET    /v1/projects/{project}                          401    404      403    403       403      403    200     200
PATCH  /v1/projects/{project}                          401    404      403    403       403      403    200     200
DELETE /v1/projects/{project}                          401    404      403    403       403      403    204     204
GET    /v1/projects/{project}/role-bindings            401    404      403    403       403      403    200     200
PUT    /v1/projects/{project}/role-bindings            401    404      403    403       403      403    200     200
GET    /v1/members                                     401    200      403    403       403      403    200     200
GET    /v1/members/{member}                            401    404      403    403       403      403    200     200
PATCH  /v1/members/{member}                            401    404      403    403       403      403    200     200
DELETE /v1/members/{member}                            401    404      403    403       403      403    204     204
POST   /v1/members/{member}/password-reset             401    404      403    403       403      403    201     201
GET    /v1/invitations                                 401    200      403    403       403      403    200     200
POST   /v1/invitations                                 401    201      403    403       403      403    201     201
GET    /v1/invitations/{invitation}                    401    404      403    403       403      403    200     200
DELETE /v1/invitations/{invitation}                    401    404      403    403       403      403    204     204
GET    /v1/roles                                       401    200      403    403       403      403    200     200
POST   /v1/roles                                       401    201      403    403       403      403    201     201
GET    /v1/roles/{role}                                401    404      403    403       403      403    200     200
PATCH  /v1/roles/{role}                                401    404      403    403       403      403    200     200
DELETE /v1/roles/{role}                                401    404      403    403       403      403    204     204
GET    /v1/scopes                                      401    200      200    200       200      200    200     200
POST   /v1/scopes                                      401    403      403    403       403      403    201     201
DELETE /v1/scopes/{scope}                              401    403      403    403       403      403    204     204
GET    /v1/service-accounts                            401    200      200    200       403      200    200     200
POST   /v1/service-accounts                            401    201      403    403       403      403    201     201
GET    /v1/service-accounts/{account}                  401    404      200    200       403      200    200     200
PATCH  /v1/service-accounts/{account}                  401    404      403    403       403      403    200     200
DELETE /v1/service-accounts/{account}                  401    404      403    403       403      403    204     204
POST   /v1/service-accounts/{account}/disable          401    404      403    403       403      403    200     200
POST   /v1/service-accounts/{account}/enable           401    404      403    403       403      403    200     200
GET    /v1/service-accounts/{account}/role-bindings    401    404      200    200       403      200    200     200
PUT    /v1/service-accounts/{account}/role-bindings    401    404      403    403       403      403    200     200
GET    /v1/service-accounts/{account}/activity         401    404      403    403       403      403    200     200
GET    /v1/service-accounts/{account}/credentials      401    404      403    403       403      403    200     200
POST   /v1/service-accounts/{account}/credentials      401    404      403    403       403      201    201     201
POST   /v1/credentials/import                          401    404      403    403       403      200    200     200
GET    /v1/import-prefixes                             401    200      403    403       403      403    200     200
POST   /v1/import-prefixes                             401    403      403    403       403      403    201     201
DELETE /v1/import-prefixes/{prefix}                    401    403      403    403       403      403    204     204
GET    /v1/api-keys                                    401    200      200    403       403      403    200     200
POST   /v1/api-keys                                    401    201      201    403       403      403    403     201
GET    /v1/credentials                                 401    200      200    403       403      403    200     200
GET    /v1/credentials/{credential}                    401    404      403    403       403      403    200     200
PATCH  /v1/credentials/{credential}                    401    404      403    403       403      200    200     200
DELETE /v1/credentials/{credential}                    401    404      403    403       403      409    409     409
POST   /v1/credentials/{credential}/deactivate         401    404      403    403       403      200    200     200
POST   /v1/credentials/{credential}/activate           401    404      403    403       403      200    200     200
POST   /v1/credentials/{credential}/revoke             401    404      403    403       403      200    200     200
POST   /v1/credentials/{credential}/rotate             401    404      403    403       403      201    201     201
GET    /v1/credentials/{credential}/rotation           401    404      403    403       403      403    200     200
POST   /v1/credentials/{credential}/rotation           401    404      403    403       403      200    200     200
POST   /oauth/token                                    400    400      400    400       400      400    400     400
POST   /oauth2/ostiary/v1/token                        400    400      400    400       400      400    400     400
POST   /oauth/register                                 400    400      400    400       400      400    400     400
POST   /oauth/revoke                                   400    400      400    400       400      400    400     400
GET    /oauth/authorize                                400    400      400    400       400      400    400     400
POST   /oauth/authorize                                400    400      400    400       400      400    400     400
POST   /oauth/device/authorize                         400    400      400    400       400      400    400     400
GET    /oauth/device/verify                            303    303      303    303       303      303    303     303
POST   /oauth/device/verify                            400    400      400    400       400      400    400     400
POST   /oauth/token/revoke                             400    400      400    400       400      400    400     400
POST   /v1/sessions                                    401    401      401    401       401      401    401     401
GET    /v1/sessions                                    401    200      200    200       200      200    200     200
GET    /v1/sessions/{session}                          401    404      403    403       403      403    200     200
DELETE /v1/sessions/{session}                          401    404      403    403       403      403    204     204
POST   /v1/sessions/revoke-all                         401    200      200    200       200      403    200     200
POST   /identity/public/v1/api/login                   401    401      401    401       401      401    401     401
GET    /identity/v1/whoami                             401    200      200    200       200      200    200     200
GET    /v1/clients                                     401    200      403    403       403      403    200     200
POST   /v1/clients                                     401    201      403    403       403      403    201     201
GET    /v1/clients/{client}                            401    404      403    403       403      403    200     200
PATCH  /v1/clients/{client}                            401    404      403    403       403      403    200     200
DELETE /v1/clients/{client}                            401    404      403    403       403      403    204     204
POST   /v1/clients/{client}/disable                    401    404      403    403       403      403    200     200
POST   /v1/clients/{client}/enable                     401    404      403    403       403      403    200     200
GET    /v1/grants                                      401    200      200    200       200      403    200     200
GET    /v1/grants/{grant}                              401    404      403    403       403      403    200     200
DELETE /v1/grants/{grant}                              401    404      403    403       403      403    403     204
GET    /v1/audit-events                                401    200      403    403       403      403    200     200
GET    /v1/usage                                       401    200      403    403       403      403    200     200
GET    /v1/access-rules                                401    403      403    403       403      403    200     200
GET    /v1/access-rules/{name}                         401    403      403    403       403      403    200     200
PUT    /v1/access-rules/{name}                         401    403      403    403       403      403    200     200
DELETE /v1/access-rules/{name}                         401    403      403    403       403      403    204     204
"""

BODIES = {
    "POST /v1/verify": {"credential": "x"},
    "POST /v1/organizations": {"name": "New", "slug": "new"},
    "PATCH /v1/organizations/{organization_id}": {"name": "Acme"},
    "PATCH /v1/organizations/{organization_id}/policies": {"max_credentials_per_service_account": 9},
    "POST /v1/projects": {"name": "New"},
    "PATCH /v1/projects/{project}": {"name": "Mine"},
    "PUT /v1/projects/{project}/role-bindings": {"bindings": []},
    "PATCH /v1/members/{member}": {"roles": []},
    "POST /v1/invitations": {"email": "new@acme.test", "roles": [{"role": "viewer"}]},
    "POST /v1/roles": {"name": "new-role", "scopes": []},
    "PATCH /v1/roles/{role}": {"description": "Mine"},
    "POST /v1/scopes": {"scope": "read:new"},
    "POST /v1/service-accounts": {"display_name": "New"},
    "PATCH /v1/service-accounts/{account}": {"display_name": "Mine"},
    "PUT /v1/service-accounts/{account}/role-bindings": {"bindings": [{"role": "viewer"}]},
    "POST /v1/service-accounts/{account}/credentials": {"kind": "api_key"},
    "POST /v1/api-keys": {"name": "Mine"},
    "PATCH /v1/credentials/{credential}": {"name": "Mine"},
    "POST /v1/import-prefixes": {"prefix": "sk_test_"},
    "POST /v1/credentials/{credential}/rotate": {"overlap": "24h"},
    "POST /v1/credentials/{credential}/rotation": {"action": "complete"},
    "PUT /v1/access-rules/{name}": {"match": []},
    "POST /v1/sessions": {"token": "x"},
    "POST /v1/clients": {"name": "New", "redirect_uris": ["https://app.acme.test/callback"]},
    "PATCH /v1/clients/{client}": {"name": "Mine"},
    "POST /identity/public/v1/api/login": {"token": "x"},
}
NARROW = ("read:service-accounts", "write:credentials", "read:agents")
RULE = {"match": [{"path": "/**", "scopes": ["read:agents"]}]}


def table() -> dict[tuple[str, str], dict[str, int]]:
    lines = [line.split() for line in REVIEWED.strip().splitlines()[1:]]
    return {
        (method, path): dict(zip(WHO, map(int, statuses), strict=True)) for method, path, *statuses in lines
    }


def keys(front: Front) -> dict[str, str | None]:
    house = front.house

    def direct(caller: object, **spec: object) -> str:
        return house.store.write(
            credentials.create_direct,
            caller,  # type: ignore[arg-type] # one of the cast
            CredentialSpec(**spec),  # type: ignore[arg-type] # fields of a credential
        ).secret.reveal()

    return {
        "nobody": None,
        "stranger": house.charlie_key,
        "viewer": direct(house.bob),
        "developer": house.key(house.account()).secret.reveal(),
        "resource": house.key(house.account(roles=("resource-server",))).secret.reveal(),
        "narrow": direct(house.alice, access_level="fine_grained", scopes=NARROW),
        "partner": house.key(house.account(roles=("organization-admin",))).secret.reveal(),
        "admin": house.alice_key,
    }


def test_every_route_has_a_line_and_every_line_a_route(front: Front) -> None:
    """P19 breaks: an endpoint was added without an entry for who may use it."""
    routes = {
        (method, path)
        for path, methods in methods_of(front).items()
        for method in methods - {"HEAD"}  # Starlette's own, where there is GET
    }
    assert routes == table().keys()
    assert {f"{method} {path}" for method, path in routes} >= BODIES.keys()


def acme(house: House) -> dict[str, str]:
    """Create one object of each kind that belongs to Acme's organization."""
    number = next(_numbers)
    member = house.store.write(
        members.insert,
        house.alice,
        house.acme.id,
        f"eve{number}@acme.test",
        None,
        [RoleBinding("viewer", None)],
    )
    project = house.store.write(projects.create, house.alice, f"Project {number}", None, "")
    invited = house.store.write(members.invite, house.alice, f"mallory{number}@acme.test", [])
    role = house.store.write(roles.create_role, house.alice, f"reader-{number}", "", ("read:agents",))
    assert role.id is not None
    for old in house.store.read(clients.list_page, house.alice, None, 200)[50:]:  # not more than there may be
        house.store.write(clients.delete, house.alice, old.id)
    client = house.store.write(
        clients.create, house.alice, ClientSpec(f"Client {number}", ("https://app.acme.test/callback",))
    )
    asked = ConsentRequest(client, house.acme.id, ("read:agents",))
    given = house.store.write(consents.give, house.alice, asked)
    return {
        "client": client.id,
        "grant": given.consent.id,
        "organization_id": house.acme.id,
        "member": member,
        "project": project.id,
        "invitation": invited.invitation.id,
        "role": role.id,
        "scope": "write:plugins",
    }


def targets(house: House) -> dict[str, str]:
    """Return the same, with an account of Acme and its objects. Its key has the scopes of the narrow caller."""
    robo = house.account("Target", roles=())
    key = house.key(robo, scopes=("read:agents",))
    house.store.write(access_rules.put_rule, house.alice, "web", RULE)
    house.store.write(imports.register_prefix, house.alice, "sk_live_")
    return acme(house) | {
        "account": robo.account.id,
        "credential": key.listed.credential.id,
        "session": house.session(key).listed.session.id,
        "name": "web",
        "path": "agents",
        "prefix": "sk_live_",
        "page": "quickstart",
    }


PREPARE: Mapping[str, Callable[[House, str], object]] = {
    "activate": lambda house, key: house.store.write(credentials.deactivate, house.alice, key),
    "rotation": lambda house, key: house.store.write(rotation.rotate, house.alice, key, None, None),
}
"""What has to have happened to the credential, by the end of the path."""


@pytest.mark.parametrize("who", WHO)
def test_who_may_do_what(front: Front, who: str) -> None:
    """P19 breaks: a role allows more, or less, than the reviewed table says; or a stranger learns what exists."""
    house = front.house
    house.sign()
    # There are more routes than an organization has credentials.
    more = {"max_credentials_per_organization": 1000}
    house.store.write(organizations.update_policies, house.alice, more, {}, frozenset())
    key = keys(front)[who]
    found = {}
    names: dict[str, str] = {}
    for method, path in table():
        prepare = PREPARE.get(path.rpartition("/")[2])
        if prepare is not None or not names:
            names = targets(house)
        if prepare is not None:
            prepare(house, names["credential"])
        rule = "web" if "{path}" in path else "-"
        target = path.format(**names, rule=rule)
        body = BODIES.get(f"{method} {path}")
        if path.endswith("/import"):
            digest = f"{next(_numbers):064x}"
            body = {"prefix": "sk_live_", "owner": names["account"], "keys": [{"sha256": digest}]}
        answer = front.ask(method, target, body, key=key)
        found[method, path] = answer.status
        unknown = path.format(**dict.fromkeys(names, "x") | {"name": "web", "path": "agents"}, rule=rule)
        if unknown != target and who == "stranger" and answer.status == 404:
            other = front.ask(method, unknown, BODIES.get(f"{method} {path}"), key=key)
            same = {"instance": ""}
            assert answer.json() | same == other.json() | same, path
        if prepare is not None or (method not in ("GET", "OPTIONS") and answer.status < 400):
            names = {}  # something may have changed: the next act has its own
    assert found == {route: statuses[who] for route, statuses in table().items()}
