"""Keys that signed-in people and narrowed tokens can create (decisions 10 and 27)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ostiary.core.instant import HOUR, to_text
from ostiary.core.permission import Caller
from ostiary.services import organizations, projects
from ostiary.services.projects import ProjectBinding
from tests.applications import application, code_of, redeem
from tests.cast import Answer, Front, House
from tests.devices import begin, decide, enter, fetch
from tests.machines import machine, token_of
from tests.visitors import ISSUER, at_home, session_of

pytestmark = pytest.mark.promise("P19")


@pytest.fixture
def front(sqlite_house: House, tmp_path: Path) -> Iterator[Front]:
    sqlite_house.sign()
    found = Front(sqlite_house, tmp_path)
    yield found
    found.close()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def cli_token(front: Front, person: Caller) -> str:
    """Return an access token of `ostiary login`."""
    begun, browser = begin(front), at_home(front.house, front, person)
    enter(browser, begun["user_code"])
    decide(browser, begun["user_code"], "allow", front.house.acme.id)
    return token_of(fetch(front, begun["device_code"]))


@pytest.mark.parametrize("where", ["browser", "ostiary login"])
def test_who_is_signed_in_makes_a_lasting_key_of_their_own(front: Front, where: str) -> None:
    """System 2 breaks: a viewer who has signed in cannot create a key that still works tomorrow."""
    house = front.house
    house.store.write(projects.create, house.alice, "Alpha", "alpha", "")
    binding = ProjectBinding(str(house.bob.actor.id), "developer")
    house.store.write(projects.set_role_bindings, house.alice, "alpha", (binding,))
    if where == "browser":
        fields = {"cookie": f"{front.cookie_name}={session_of(house, house.bob)}", "origin": ISSUER}
    else:
        fields = bearer(cli_token(front, house.bob))
    answer = front.ask("POST", "/v1/api-keys", {"name": "Mine"}, headers=fields)
    assert answer.status == 201, answer.body
    assert answer.json()["credential"]["expires_at"] is None
    house.store.write(organizations.update_policies, house.alice, {"rate_limit": 5}, {}, frozenset())
    key = answer.json()["secret"]
    assert front.verify(key)["scopes"] == ["read:agents", "read:plugins", "read:service-accounts"]


def test_an_application_makes_no_key(front: Front) -> None:
    """P2 breaks: an application creates a key for itself that survives the withdrawal of its consent."""
    client = application(front.house)
    browser = at_home(front.house, front, front.house.alice)
    token = token_of(redeem(front, client, code_of(browser, client, scope="api")))
    answer = front.ask("POST", "/v1/api-keys", {"name": "Mine"}, headers=bearer(token))
    assert (answer.status, answer.json()["code"]) == (403, "insufficient-permissions")


def test_what_a_narrowed_token_makes_ends_with_it(front: Front) -> None:
    """P2 breaks: a token that was issued for an hour and one purpose creates a permanent key."""
    house = front.house
    robot = machine(front, roles=("organization-admin",))
    narrowed = bearer(token_of(robot.by_secret(scope="write:credentials read:agents")))
    whole = bearer(token_of(robot.by_secret(scope="api")))
    target = f"/v1/service-accounts/{robot.view.account.id}/credentials"

    def make(fields: dict[str, str], **body: Any) -> Answer:
        return front.ask(
            "POST", target, {"kind": "api_key", "scopes": ["read:agents"], **body}, headers=fields
        )

    for refused, limit in (
        (make(narrowed), "lifetime"),
        (make(narrowed, expires_at=to_text(house.clock.now + 25 * HOUR)), "lifetime"),
        (make(narrowed, expires_at=to_text(house.clock.now + HOUR), scopes=["write:agents"]), "scopes"),
        (
            front.ask(
                "POST", f"/v1/credentials/{robot.key.listed.credential.id}/rotate", {}, headers=narrowed
            ),
            "scopes",
        ),
    ):
        assert (refused.status, refused.json()["code"]) == (403, "scope-exceeds-grantor"), refused.body
        assert refused.json()["limits"] == [limit]
    assert "expires_at not after" in make(narrowed).json()["detail"]
    made = make(narrowed, expires_at=to_text(house.clock.now + HOUR))
    assert made.status == 201, made.body
    assert make(whole).status == 201


def test_sessions_of_a_person_share_one_limit(front: Front) -> None:
    """P10 breaks: a person who signs in four times has four times the rate limit."""
    house = front.house
    house.store.write(organizations.update_policies, house.alice, {"rate_limit": 4}, {}, frozenset())
    sessions = [bearer(session_of(house, house.bob)) for _ in range(4)]
    statuses = [front.ask("GET", "/v1/capabilities", headers=sessions[n % 4]).status for n in range(8)]
    assert statuses == [200] * 4 + [429] * 4
    # An application has its own limit.
    assert front.ask("GET", "/v1/capabilities", headers=bearer(cli_token(front, house.bob))).status == 200
    assert front.ask("GET", "/v1/capabilities", headers=bearer(session_of(house, house.alice))).status == 200


def test_tokens_and_sessions_of_a_credential_share_its_limit(front: Front) -> None:
    """P10 breaks: exchanging a key for tokens, or logging in again, resets the rate limit."""
    house = front.house
    robot = machine(front)
    house.store.write(organizations.update_policies, house.alice, {"rate_limit": 6}, {}, frozenset())
    presented = [token_of(robot.by_grant()) for _ in range(2)]
    presented += [house.session(robot.file).secret.reveal() for _ in range(2)]
    statuses = [
        front.ask("GET", "/v1/capabilities", headers=bearer(presented[n % 4])).status for n in range(8)
    ]
    assert statuses == [200] * 4 + [429] * 4  # the two trades are uses, too
