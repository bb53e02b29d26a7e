"""The policy `max_service_accounts`: it counts only accounts that people create through a browser session."""

from tests.cast import Answer, Front
from tests.console.browser import OWN, Browser, give_password


def test_accounts_made_in_a_browser_are_limited_apart(front: Front) -> None:
    """System 1 breaks: the limit of the portal also stops the API, or does not stop the portal."""
    house = front.house
    policies = f"/v1/organizations/{house.acme.id}/policies"
    front.ask("PATCH", policies, {"max_service_accounts": 1}, key=house.alice_key)
    give_password(house, house.alice)
    browser = Browser(front)
    browser.sign_in("alice@acme.test")

    def by_hand(**fields: str) -> Answer:
        named = fields or {"cookie": f"ostiary_session={browser.session}", "origin": OWN}
        return front.ask("POST", "/v1/service-accounts", {"display_name": "By hand"}, headers=named)

    def by_key() -> int:
        body = {"display_name": "By API"}
        return front.ask("POST", "/v1/service-accounts", body, key=house.alice_key).status

    assert (by_key(), by_hand().status, by_key()) == (201, 201, 201)
    for refused in (by_hand(), by_hand(authorization=f"Bearer {browser.session}")):
        assert refused.status == 409
        told = refused.json()
        assert (told["code"], told["limit"]) == ("limit-reached", "max_service_accounts")
        assert (told["value"], told["count"]) == (1, 1)
    assert (
        front.ask("GET", policies, key=house.alice_key).json()["limits"]["max_service_accounts"]["count"] == 1
    )
