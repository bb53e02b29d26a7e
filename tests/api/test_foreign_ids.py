"""P19: another tenant's object gets the same response as one that does not exist: in path, body, query and cursor."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from ostiary.core.instant import MINUTE
from ostiary.core.oauth import CLI
from ostiary.http.verify import VERIFY_FIELDS
from ostiary.services import access_rules, clients, consents, credentials, imports, service_accounts, sessions
from ostiary.services.clients import ClientSpec
from ostiary.services.consents import ConsentRequest
from ostiary.services.issuance import CredentialSpec
from ostiary.services.service_accounts import AccountSpec
from ostiary.storage import audit as audit_rows
from ostiary.storage import tables
from ostiary.storage.audit import Filter, Recorded
from ostiary.storage.journal import UsedMark
from ostiary.storage.store import Tx
from tests.api.bodies import MEMBERS, least, placed
from tests.api.routes import methods_of, queries
from tests.api.test_matrix import RULE, acme
from tests.cast import Answer, Front, House
from tests.http.test_verify import never_made
from tests.services.questions import all_rows

pytestmark = pytest.mark.promise("P19")

NOBODY = "01kavq00000000000000000000"
UNKNOWN = {
    "organization_id": f"org_{NOBODY}",
    "project": f"prj_{NOBODY}",
    "member": f"usr_{NOBODY}",
    "invitation": f"inv_{NOBODY}",
    "role": f"role_{NOBODY}",
    "account": f"sa_{NOBODY}",
    "credential": f"cred_{NOBODY}",
    "session": f"ses_{NOBODY}",
    "client": f"app_{NOBODY}",
    "grant": f"gra_{NOBODY}",
}
"""An id of the same form that nobody has, for each parameter of a path that names what a tenant owns."""
INSTALLATION = {"scope", "name", "rule", "path", "prefix"}
"""Parameters that name what belongs to the installation: the same for every tenant."""

# What fields of a body name, by their kind in `tests.api.bodies`
OF_TENANTS = {"owner": 404, "project": 404, "projects": 404, "place": 404, "principal": 404, "role": 422,
              "role name": 201, "username": 201, "code": 201, "email": 201}  # fmt: skip
"""Kinds that name something of a tenant's, and what is answered where the name is foreign or nobody's."""
OF_THE_INSTALLATION = {"slug", "scopes", "resources", "new scope", "rule project", "rule organizations",
                       "rule scopes", "rule resource", "rule path", "import prefix", "new prefix"}  # fmt: skip
"""What only the operator may name, or what is the same for everyone."""
PLAIN = {"audience",
         "display name", "description", "flag", "number", "uses", "rate", "length", "delay", "expiry", "import expiry",
         "addresses", "level",
         "session length", "signed", "redirects", "grant types", "auth method", "key set", "https address",
         "web address", "access", "own project", "default project", "algorithm", "compat",
         "kind", "kinds", "methods", "no", "overlap", "rotation", "digest"}  # fmt: skip
"""Values that name nothing."""

FILTERS = {"actor", "target", "username", "email", "organization", "project"}
NAMED = {"credential", "service_account"}
"""Members of a query that name one thing: there is no such thing, rather than nothing to list."""
PLAIN_QUERY = {
    "limit", "dry_run", "order", "filter", "action", "since", "until", "interval", "kind", "status", "search",
    "expires_before", "unused_since",
}  # fmt: skip
"""And `cursor`, which has a test of its own."""


class Tenants:
    """Acme and Umbrella with one object of each kind. Charlie, who may do everything at Umbrella, sends the
    requests.
    """

    def __init__(self, front: Front) -> None:
        self.front, self.house = front, front.house
        house = self.house
        house.store.write(access_rules.put_rule, house.alice, "web", RULE)
        house.store.write(imports.register_prefix, house.alice, "sk_live_")
        robo = house.account("Robo", username="robo")
        key = house.key(robo)
        self.secret = key.secret.reveal()
        self.acme = acme(house) | {"account": robo.account.id, "credential": key.listed.credential.id}
        project, role = self.acme["project"], self.acme["role"]
        self.names = {
            # Every name that the API accepts, each with a name of the same form that does not exist.
            "project": [
                (project, UNKNOWN["project"]),
                (self.told(f"/v1/projects/{project}")["code"], "nobodys-code"),
            ],
            "role": [(role, UNKNOWN["role"]), (self.told(f"/v1/roles/{role}")["name"], "nobodys-role")],
            "account": [
                (robo.account.id, UNKNOWN["account"]),
                (robo.account.client_id, f"ostiary-sa-{NOBODY}"),
                (robo.channel_identifier, f"nobody@acme.{robo.channel_identifier.partition('.')[2]}"),
                # With Acme's names and Umbrella's slug.
                ("robo@umbrella.localhost", "nobody@umbrella.localhost"),
                ("robo", "nobody"),
            ],
            "member": [
                (str(house.bob.actor.id), UNKNOWN["member"]),
                (str(house.alice.actor.id), UNKNOWN["member"]),
            ],
            "credential": [
                (self.acme["credential"], UNKNOWN["credential"]),
                (str(house.alice.actor.credential_id), UNKNOWN["credential"]),
                (key.listed.credential.access_id, "0" * 32),
            ],
            "invitation": [(self.acme["invitation"], UNKNOWN["invitation"])],
            "session": [(house.session(key).listed.session.id, UNKNOWN["session"])],
            "client": [(self.acme["client"], UNKNOWN["client"]), (CLI, "nobodys-cli")],
            "grant": [(self.acme["grant"], UNKNOWN["grant"])],
            "organization_id": [(house.acme.id, UNKNOWN["organization_id"]), ("acme", "nobody")],
        }
        self.own = self._umbrella()

    def _umbrella(self) -> dict[str, str]:
        """Return the ids of Umbrella's objects, which Charlie creates through the API."""
        house = self.house
        account = house.store.write(service_accounts.create, house.charlie, AccountSpec("Own"))
        key = house.store.write(credentials.create, house.charlie, account.account.id, CredentialSpec())
        made = {
            "project": self._made("/v1/projects", {"name": "Own"})["id"],
            "role": self._made("/v1/roles", {"name": "own-role", "scopes": []})["id"],
            "invitation": self._made("/v1/invitations", {"email": "own@umbrella.test", "roles": []})[
                "invitation"
            ]["id"],
        }
        client = house.store.write(
            clients.create, house.charlie, ClientSpec("Own", ("https://app.umbrella.test/callback",))
        )
        asked = ConsentRequest(client, house.umbrella.id, ("read:agents",))
        return made | {
            "client": client.id,
            "grant": house.store.write(consents.give, house.charlie, asked).consent.id,
            "organization_id": house.umbrella.id,
            "account": account.account.id,
            "credential": key.listed.credential.id,
            "session": house.store.write(
                sessions.begin,
                replace(
                    house.charlie,
                    actor=replace(
                        house.charlie.actor,
                        id=account.account.id,
                        credential_id=key.listed.credential.id,
                    ),
                ),
                UsedMark(b"own", house.clock()),
                None,
            ).listed.session.id,
            "member": str(house.charlie.actor.id),
            "scope": "read:agents",
            "name": "web",
            "prefix": "sk_live_",
        }

    def _made(self, target: str, body: object) -> Any:
        answer = self.ask("POST", target, body)
        assert answer.status == 201, answer.body
        return answer.json()

    def told(self, target: str) -> Any:
        return self.ask("GET", target, key=self.house.alice_key).json()

    def ask(self, method: str, target: str, body: object = None, key: str = "", **more: Any) -> Answer:
        return self.front.ask(method, target, body, key=key or self.house.charlie_key, **more)

    def body(self, route: str) -> object:
        """Return a valid body for a route, or None if it has no body."""
        return least(route, owner=self.own["account"]) if route in MEMBERS else None

    def both(
        self, requests: tuple[tuple[str, str, object], tuple[str, str, object]], what: object, **more: Any
    ) -> Answer:
        """Send a foreign and an unknown name. Check for the same response, and the same entry in Charlie's own log."""
        foreign, unknown = requests
        seen = [self._watched(*each, **more) for each in (foreign, unknown)]
        assert seen[0] == seen[1], what
        return self._last

    def _watched(self, method: str, target: str, body: object, **more: Any) -> object:
        own = self.house.umbrella.id
        newest = self.house.store.read(lambda tx: audit_rows.page(tx, own, Filter(), None, 1))
        answer = self._last = self.ask(method, target, body, **more)
        events = self.log(own, newest[0].seq if newest else None)
        if answer.status in (403, 404, 409):
            assert [each.action for each in events] == ["request.refused"], (method, target)
            assert events[0].request_id == answer.headers["x-request-id"]
            assert events[0].actor_id == self.house.charlie.actor.id
        return comparable(answer), [(each.action, each.outcome, each.reason) for each in events]

    def log(self, organization_id: str, after: int | None = None) -> list[Recorded]:
        return self.house.store.read(
            lambda tx: audit_rows.page(tx, organization_id, Filter(), after, 10_000, True)
        )


@pytest.fixture
def tenants(front: Front) -> Tenants:
    return Tenants(front)


def comparable(answer: Answer) -> object:
    """Return a response without its request id and remaining rate limit. For a new object, only its field names."""
    fields = dict(answer.headers)
    request_id = fields.pop("x-request-id", None)
    fields.pop("ratelimit", None)  # one less each time
    if answer.status == 201:
        return answer.status, sorted(fields.keys() - {"content-length"}), sorted(answer.json())
    body = json.loads(answer.body) if answer.body else {}
    assert body.pop("instance", request_id) == request_id
    return answer.status, fields, body


def rows_of(house: House, organization_id: str) -> dict[str, list[tuple[str, ...]]]:
    """Return every row of an organization, and its log."""

    def dump(tx: Tx) -> dict[str, list[tuple[str, ...]]]:
        own = {
            table.name: table.c.organization_id == organization_id
            for table in tables.metadata.sorted_tables
            if "organization_id" in table.c
        } | {"organizations": tables.organizations.c.id == organization_id}
        return {
            name: sorted(
                tuple(map(repr, row))
                for row in tx.execute(sa.select(tables.metadata.tables[name]).where(condition))
            )
            for name, condition in own.items()
        }

    return house.store.read(dump)


def routes(front: Front) -> Iterator[tuple[str, str, set[str]]]:
    """Return method, path and path parameters of every API route. The manual is public."""
    for path, methods in methods_of(front).items():
        if not path.startswith("/v1/"):
            continue
        names = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        for method in sorted(methods - {"HEAD"}):
            yield method, path, names


def test_every_name_that_somebody_may_give_has_a_case(front: Front) -> None:
    """P19 breaks: a route accepts a new id or name, and no test tries a foreign one."""
    named = {name for _, _, names in routes(front) for name in names}
    assert named == UNKNOWN.keys() | INSTALLATION
    kinds = {kind for members in MEMBERS.values() for kind in members.values()}
    assert kinds == OF_TENANTS.keys() | OF_THE_INSTALLATION | PLAIN
    assert set().union(*queries().values()) == FILTERS | NAMED | PLAIN_QUERY | {"cursor"}
    assert {"credential", "project", "ip", "scopes", "resource", "audience", "count"} == VERIFY_FIELDS


def test_ids_in_paths(tenants: Tenants) -> None:
    """P19 breaks: a stranger learns that an id of Acme exists, or changes the object."""
    house = tenants.house
    before, log = all_rows(house), tenants.log(house.acme.id)
    checked = 0
    for method, path, parameters in routes(tenants.front):
        house.clock.advance(MINUTE)  # Charlie's key may be used a thousand times in each
        for parameter in parameters - INSTALLATION:
            for foreign, unknown in tenants.names[parameter]:
                route = f"{method} {path}"
                requests = (
                    (method, path.format(**{parameter: foreign}), tenants.body(route)),
                    (method, path.format(**{parameter: unknown}), tenants.body(route)),
                )
                for fields in ({}, {"if-match": "*"}, {"if-match": '"stale"'}, {"idempotency-key": "one"}):
                    answer = tenants.both(requests, (route, foreign), headers=fields)
                    assert (answer.status, answer.json()["code"]) == (404, "not-found"), (route, foreign)
                    assert foreign not in answer.body.decode()
                checked += 1
    assert checked > 60
    assert all_rows(house) == before
    assert tenants.log(house.acme.id) == log


def test_names_of_the_installations(tenants: Tenants) -> None:
    """P19 breaks: responses to a customer's own requests show which rules and scopes the operator has."""
    before = all_rows(tenants.house)
    for method, path, parameters in routes(tenants.front):
        if parameters & {"name", "scope", "prefix"}:
            real = {"name": "web", "scope": "read:agents", "prefix": "sk_live_"}
            none = {"name": "nothing", "scope": "read:nothing", "prefix": "sk_none_"}
            body = tenants.body(f"{method} {path}")
            requests = ((method, path.format(**real), body), (method, path.format(**none), body))
            assert tenants.both(requests, path).status == 403
    assert all_rows(tenants.house) == before


def test_ids_in_bodies(tenants: Tenants) -> None:
    """P19 breaks: a field of a body reaches another tenant's objects, or shows that they exist."""
    house = tenants.house
    before, log = all_rows(house), tenants.log(house.acme.id)
    checked = 0
    for route, members in MEMBERS.items():
        method, _, path = route.partition(" ")
        target = path.format(**tenants.own)
        for pointer, kind in members.items():
            if OF_TENANTS.get(kind, 201) == 201:
                continue
            for foreign, unknown in in_bodies(tenants, kind):
                bodies = [
                    placed(
                        route,
                        pointer,
                        [name] if kind == "projects" else name,
                        principal=tenants.own["account"],
                        owner=tenants.own["account"],
                    )
                    for name in (foreign, unknown)
                ]
                requests = ((method, target, bodies[0]), (method, target, bodies[1]))
                answer = tenants.both(requests, (route, pointer, foreign))
                status = 403 if "/access-rules" in route else OF_TENANTS[kind]
                assert answer.status == status, (route, pointer, foreign, answer.body)
                assert foreign not in answer.body.decode()
                checked += 1
    assert checked > 20
    assert all_rows(house) == before
    assert tenants.log(house.acme.id) == log


def in_bodies(tenants: Tenants, kind: str) -> list[tuple[str, str]]:
    """Return Acme's names for the objects that a field of this kind names, and names that do not exist."""
    names = tenants.names
    if kind == "place":
        return [*names["project"], *names["organization_id"]]
    if kind == "projects":
        return names["project"]
    if kind == "owner":
        return names["account"]
    if kind == "principal":
        return [*names["account"], *names["member"]]
    return names[kind]


def test_names_that_are_taken_elsewhere_are_free_here(tenants: Tenants) -> None:
    """P19 breaks: a 409 tells a stranger which usernames, codes, roles or members Acme has."""
    house = tenants.house
    acmes = rows_of(house, house.acme.id)
    code, role = tenants.names["project"][1][0], tenants.names["role"][1][0]
    taken = {
        "username": ("robo", "not-robo"),
        "code": (code, "another-code"),
        "role name": (role, "another-role"),
        "email": ("bob@acme.test", "nobody@acme.test"),
    }
    assert taken.keys() == {kind for kind, status in OF_TENANTS.items() if status == 201}
    for route, members in MEMBERS.items():
        method, _, path = route.partition(" ")
        for pointer, kind in members.items():
            if kind in taken and method == "POST":
                foreign, free = (
                    (method, path.format(**tenants.own), placed(route, pointer, name)) for name in taken[kind]
                )
                answer = tenants.both((foreign, free), (route, pointer))
                assert answer.status == 201, (route, answer.body)
    slugs = [("POST", "/v1/organizations", {"name": "x", "slug": each}) for each in ("acme", "nobodys")]
    assert tenants.both((slugs[0], slugs[1]), "slug").status == 403
    assert rows_of(house, house.acme.id) == acmes


def test_what_is_asked_of_verify(tenants: Tenants) -> None:
    """P19 breaks: a resource server of Umbrella learns about Acme's credentials or projects from `/v1/verify`."""
    asked: list[tuple[dict[str, object], dict[str, object]]] = [
        ({"credential": tenants.secret}, {"credential": never_made()})
    ]
    asked += [
        (
            {"credential": tenants.house.charlie_key, "project": foreign},
            {"credential": tenants.house.charlie_key, "project": unknown},
        )
        for foreign, unknown in tenants.names["project"]
    ]
    for foreign, unknown in asked:
        requests = (("POST", "/v1/verify", foreign), ("POST", "/v1/verify", unknown))
        answer = tenants.both(requests, foreign)
        assert answer.json()["valid"] is False
    seen = [each.action for each in tenants.log(tenants.house.umbrella.id)]
    assert "credential.refused" not in seen
    tenants.front.write_counts()
    of_acme = [each for each in tenants.log(tenants.house.acme.id) if each.action == "credential.refused"]
    assert of_acme == []


def test_organizations_in_queries(tenants: Tenants) -> None:
    """P19 breaks: `?organization=` lets a customer act in another organization, or shows that it exists."""
    house = tenants.house
    before, log = all_rows(house), tenants.log(house.acme.id)
    checked = 0
    for route, members in queries().items():
        if "organization" not in members:
            continue
        method, _, path = route.partition(" ")
        target = path.format(**tenants.own)
        for foreign, unknown in tenants.names["organization_id"]:
            requests = (
                (method, f"{target}?organization={foreign}", tenants.body(route)),
                (method, f"{target}?organization={unknown}", tenants.body(route)),
            )
            answer = tenants.both(requests, route)
            assert (answer.status, answer.json()["code"]) == (404, "not-found"), route
            checked += 1
    assert checked > 80
    assert all_rows(house) == before
    assert tenants.log(house.acme.id) == log


def test_ids_in_filters(tenants: Tenants) -> None:
    """P19 breaks: a filter finds another tenant's objects."""
    house = tenants.house
    ids = [pair for pairs in tenants.names.values() for pair in pairs]
    ids += [
        (str(house.alice.actor.credential_id), UNKNOWN["credential"]),
        ("alice@acme.test%20(API%20key)", "nobody@acme.test%20(API%20key)"),
        ("alice@acme.test", "nobody@acme.test"),
        ("web", "nothing"),
    ]
    filters = [
        (route.partition(" ")[2], name)
        for route, members in queries().items()
        for name in members & (FILTERS - {"organization"} | NAMED)
    ]
    assert {name for _, name in filters} == FILTERS - {"organization"} | NAMED
    empty: dict[str, object] = {"data": [], "next_cursor": None}
    for target, name in filters:
        for foreign, unknown in ids:
            requests = (
                ("GET", f"{target}?{name}={foreign}", None),
                ("GET", f"{target}?{name}={unknown}", None),
            )
            answer = tenants.both(requests, (target, name, foreign))
            if name in NAMED:
                assert (answer.status, answer.json()["code"]) == (404, "not-found"), (name, foreign)
            elif name == "actor":
                assert [each["code"] for each in answer.json()["errors"]] == ["unknown-actor"], foreign
            elif (name, foreign) != ("target", house.umbrella.id):
                assert (answer.status, answer.json()) == (200, empty), (name, foreign)


def test_lists_hold_ones_own_only(tenants: Tenants) -> None:
    """P19 breaks: a list shows another tenant's rows, or another tenant's id inside one of its own rows."""
    theirs = {each for pairs in tenants.names.values() for each, _ in pairs} - {"acme", "robo"}
    for method, path, _ in routes(tenants.front):
        if method == "GET" and "authorize" not in path:
            shown = tenants.ask("GET", path.format(**tenants.own)).body.decode()
            assert not [each for each in theirs if each in shown], path


def lists(tenants: Tenants, names: dict[str, str]) -> dict[str, str]:
    """Return every list with pages: its template and its URL."""
    return {
        route.partition(" ")[2]: route.partition(" ")[2].format(**names)
        for route, members in queries().items()
        if "cursor" in members
    }


def test_cursors(tenants: Tenants) -> None:
    """P19, B8 break: a cursor of Acme's list, or of another list, gives Charlie rows of other tenants."""
    house = tenants.house
    for number in range(2):  # a second of everything, so that there is a next page
        acme(house)
        house.session(house.key(house.account(f"Robo {number}")))
    house.store.write(credentials.create, house.alice, tenants.acme["account"], CredentialSpec())
    cursors = {}
    for path, target in lists(tenants, tenants.acme).items():
        cursors[path] = tenants.told(f"{target}?limit=1")["next_cursor"]
        assert cursors[path], path
        second = tenants.ask("GET", f"{target}?cursor={cursors[path]}", key=house.alice_key)
        assert second.status == 200
    never = "A" * len(cursors["/v1/projects"])
    for path, target in lists(tenants, tenants.own).items():
        for cursor in [*cursors.values(), never[:-1] + "B"]:
            requests = (("GET", f"{target}?cursor={cursor}", None), ("GET", f"{target}?cursor={never}", None))
            answer = tenants.both(requests, (path, cursor))
            assert (answer.status, answer.json()["code"]) == (400, "invalid-cursor"), path
    for path, target in lists(tenants, tenants.acme).items():
        for of, cursor in cursors.items():
            forged = [cursor[:-2], cursor + "AAAA", ("A" if cursor[0] != "A" else "B") + cursor[1:]]
            for each in [*forged, *([cursor] if of != path else [])]:
                answer = tenants.ask("GET", f"{target}?cursor={each}", key=house.alice_key)
                assert (answer.status, answer.json()["code"]) == (400, "invalid-cursor"), (path, of)


def test_what_a_viewer_may_not_see(tenants: Tenants) -> None:
    """P19 breaks: a refusal shows Bob, a viewer of Acme, whether an object exists that he may not see."""
    house = tenants.house
    bob = house.store.write(credentials.create_direct, house.bob, CredentialSpec()).secret.reveal()
    before = all_rows(house)
    names = tenants.names | {
        "member": [(str(house.alice.actor.id), UNKNOWN["member"])],
        "name": [("web", "nothing")],
        "scope": [("write:agents", "write:nothing")],
        "prefix": [("sk_live_", "sk_none_")],
    }
    checked = 0
    for method, path, parameters in routes(tenants.front):
        for parameter in parameters - {"rule", "path", "organization_id"}:
            if parameter == "account" and method == "GET" and "/credentials" not in path:
                continue  # accounts and their roles are a viewer's to read
            route = f"{method} {path}"
            for real, unknown in names[parameter]:
                # That an account exists is a viewer's to know: there a tag may be looked at first.
                for fields in ({}, {"if-match": '"stale"'} if parameter != "account" else {}):
                    seen = [
                        tenants.ask(method, path.format(**{parameter: each}), tenants.body(route), key=bob,
                                    headers=fields)
                        for each in (real, unknown)
                    ]  # fmt: skip
                    assert comparable(seen[0]) == comparable(seen[1]), (route, real)
                    assert seen[0].status == 403, (route, real)
                    checked += 1
    assert checked > 80
    assert all_rows(house) == before
