"""Acme with one object of each kind, and valid and invalid requests by its admin. For tests that run over all
routes.
"""

from typing import Any

from ostiary.services import access_rules, imports
from tests.api.bodies import least, placed
from tests.api.test_matrix import RULE, acme
from tests.cast import Answer, Front
from tests.http.test_any_endpoint import is_problem

CANARY = "CanaryThatNobodyGetsBack"
VERIFY = "POST /v1/verify"


class Scene:
    """Acme with one object of each kind. Alice sends the requests."""

    def __init__(self, front: Front, username: str | None = "robo") -> None:
        self.front, house = front, front.house
        self.robo = house.account("Robo", username=username)
        key = house.key(self.robo)
        self.key = key.listed.credential
        house.store.write(access_rules.put_rule, house.alice, "web", RULE)
        house.store.write(imports.register_prefix, house.alice, "sk_live_")
        self.names = acme(house) | {
            "account": self.robo.account.id,
            "credential": self.key.id,
            "session": house.session(key).listed.session.id,
            "name": "web",
            "prefix": "sk_live_",
        }

    def given(self) -> dict[str, str]:
        return {"principal": self.robo.account.id, "owner": self.robo.account.id}

    def target(self, route: str) -> str:
        return route.partition(" ")[2].format(**self.names)

    def body(self, route: str) -> dict[str, Any]:
        return {"credential": "x"} if route == VERIFY else least(route, **self.given())

    def ask(self, route: str, body: object = None, query: str = "", **more: Any) -> Answer:
        """Send a request as Alice. `route` is a template such as `GET /v1/projects/{project}`."""
        target = self.target(route) + (f"?{query}" if query else "")
        return self.front.ask(route.partition(" ")[0], target, body, key=self.front.house.alice_key, **more)

    def send(self, route: str, pointer: str, value: object) -> Answer:
        """Send a valid body, except for this value at this pointer."""
        if route == VERIFY:
            return self.ask(route, {"credential": "x"} | {pointer[1:]: value})
        return self.ask(route, placed(route, pointer, value, **self.given()))

    def state(self) -> object:
        """Return what Alice sees of all objects that the rows of this file try to change."""
        lists = ("service-accounts", "projects", "members", "invitations", "roles", "scopes", "credentials",
                 "access-rules", "organizations")  # fmt: skip
        shown = [self.ask(f"GET /v1/{each}", query="").json() for each in lists]
        return shown, self.ask("GET /v1/organizations/{organization_id}/policies").json()


def is_refused(answer: Answer, status: int, code: str, *fields: tuple[str, str]) -> None:
    """Check for a problem document with exactly these field errors, in any order, that repeats no value of
    the request.
    """
    is_problem(answer, status, code)
    body = answer.json()
    assert body["title"]
    assert sorted((each["pointer"], each["code"]) for each in body.get("errors", ())) == sorted(fields), body
    assert all(each["detail"] for each in body.get("errors", ()))
    assert CANARY not in answer.body.decode()
