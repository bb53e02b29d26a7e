"""Acme with one of everything, and how its admin asks, rightly and wrongly: for tests that go over all routes."""

from typing import Any

from ostiary.services import access_rules, imports
from tests.api.bodies import least, placed
from tests.api.test_matrix import RULE, acme
from tests.cast import Answer, Front
from tests.http.test_any_endpoint import is_problem

CANARY = "CanaryThatNobodyGetsBack"
VERIFY = "POST /v1/verify"


class Scene:
    """Acme with one of everything, and Alice who asks."""

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
        """Ask as Alice; `route` is a template such as `GET /v1/projects/{project}`."""
        target = self.target(route) + (f"?{query}" if query else "")
        return self.front.ask(route.partition(" ")[0], target, body, key=self.front.house.alice_key, **more)

    def send(self, route: str, pointer: str, value: object) -> Answer:
        """Ask with a body that is good but for this value at this place."""
        if route == VERIFY:
            return self.ask(route, {"credential": "x"} | {pointer[1:]: value})
        return self.ask(route, placed(route, pointer, value, **self.given()))

    def state(self) -> object:
        """What Alice sees of everything that the rows of this file try to change."""
        lists = ("service-accounts", "projects", "members", "invitations", "roles", "scopes", "credentials",
                 "access-rules", "organizations")  # fmt: skip
        shown = [self.ask(f"GET /v1/{each}", query="").json() for each in lists]
        return shown, self.ask("GET /v1/organizations/{organization_id}/policies").json()


def is_refused(answer: Answer, status: int, code: str, *fields: tuple[str, str]) -> None:
    """A problem document with exactly these field errors, in any order, and nothing of what was sent."""
    is_problem(answer, status, code)
    body = answer.json()
    assert body["title"]
    assert sorted((each["pointer"], each["code"]) for each in body.get("errors", ())) == sorted(fields), body
    assert all(each["detail"] for each in body.get("errors", ()))
    assert CANARY not in answer.body.decode()
