"""Identifiers in responses are real identities: a name that anyone can choose
never appears as an identifier.
"""

import base64
import json
from typing import Any

import pytest

from ostiary.services import members, service_accounts
from tests.applications import application, code_of, redeem
from tests.cast import Front, House
from tests.machines import ALIAS_TOKEN, INTROSPECT, REVOKE, machine, post, token_of
from tests.services.questions import events, refused
from tests.signers import login
from tests.visitors import at_home

WHOAMI = "/identity/v1/whoami"
LOOKALIKE = "alice@acme.test"


def introspected(front: Front, text: str) -> Any:
    told = post(front, INTROSPECT, {"token": text}, bearer=front.house.alice_key).json()
    assert told["active"]
    return told


def claims_of(text: str) -> str:
    payload = text.split(".")[1]
    return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()


@pytest.mark.promise("P19")
def test_another_tenants_account_is_not_taken_for_a_person(front: Front) -> None:
    """P19 breaks: a resource server takes an account for Alice because its creator gave it her email as a
    name.
    """
    house = front.house
    house.sign()
    evil = machine(front, LOOKALIKE, owner=house.charlie, roles=())
    identifier = evil.view.channel_identifier
    assert identifier.endswith("@umbrella.localhost")
    text = token_of(evil.by_secret())
    told = introspected(front, text)
    assert (told["username"], told["display_name"]) == (identifier, LOOKALIKE)
    shown: list[Any] = [
        front.verify(text)["principal"],
        front.ask("GET", "/v1/capabilities", key=evil.api_key).json()["principal"],
        front.ask("GET", WHOAMI, key=evil.api_key).json(),
    ]
    for each in shown:
        assert (each["username"], each["display_name"]) == (identifier, LOOKALIKE)
    assert shown[2]["email"] is None
    # No claim, proxy header or other field contains the chosen name.
    fields = front.ask("GET", "/v1/authorize/-", key=evil.api_key).headers
    for place in (
        *map(claims_of, (text, token_of(evil.by_secret(ALIAS_TOKEN, scope="m2m")))),
        json.dumps(dict(fields)),
        json.dumps({name: each for name, each in told.items() if name != "display_name"}),
    ):
        assert LOOKALIKE not in place
    # The log of its organization shows its real name.
    actor = next(each for each in events(house, house.umbrella.id) if each.action == "token.issued")
    assert actor.actor_display == f"{LOOKALIKE} [{identifier}] (API key)"


def test_a_person_is_their_email_and_sub(front: Front) -> None:
    """System 5 breaks: an application cannot tell who signed in, or `sub` differs
    from the one in the token.
    """
    house = front.house
    alice = house.alice.actor.id
    told = front.ask("GET", WHOAMI, key=house.alice_key).json()
    assert [told[name] for name in ("sub", "user_code", "email", "username", "display_name")] == [
        alice,
        alice,
        LOOKALIKE,
        LOOKALIKE,
        LOOKALIKE,
    ]
    assert introspected(front, house.alice_key)["username"] == LOOKALIKE
    assert front.verify(house.alice_key)["principal"]["username"] == LOOKALIKE


@pytest.mark.promise("P19")
@pytest.mark.parametrize("email", ["robo@acme.localhost", "robo@new.localhost", "x.y@a.b.localhost"])
def test_no_person_has_an_accounts_channel_identifier(house: House, email: str) -> None:
    """P19 breaks: by inviting a person, one organization impersonates another's service account to a resource
    server.
    """

    def insert() -> None:
        house.store.write(members.insert, house.charlie, house.umbrella.id, email, None, [])

    def invite() -> None:
        house.store.write(members.invite, house.charlie, email, [])

    for act in (insert, invite):
        with refused("validation-failed") as caught:
            act()
        assert [(each.pointer, each.code) for each in caught.value.errors] == [("/email", "reserved")]
    house.store.write(members.invite, house.charlie, "robo@localhost", [])
    house.store.write(members.invite, house.charlie, "robo@acme.notlocalhost", [])


def test_a_credential_is_told_by_its_kind_and_its_tokens_with_it(front: Front) -> None:
    """System 4 breaks: the log does not say that an API key acted, or hides its kind."""
    house = front.house
    house.sign()
    robo = machine(front, roles=("organization-admin",))
    signed = login(robo.file.secret.reveal(), robo.key_id, house.clock())
    session = front.ask("POST", "/v1/sessions", {"token": signed}).json()["token"]
    made = {
        "api key": robo.api_key,
        "its token": token_of(robo.exchange(robo.api_key)),
        "token of a client secret": token_of(robo.by_secret()),
        "token of a key file": token_of(robo.by_grant()),
        "session of a key file": session,
    }
    for name, text in made.items():
        bearer = {"authorization": f"Bearer {text}"}
        assert front.ask("POST", "/v1/projects", {"name": name}, headers=bearer).status == 201
    found = front.ask("GET", "/v1/audit-events?action=project.created&order=oldest", key=house.alice_key)
    assert [
        (each["target"]["display"], each["actor"]["display"], each["actor"]["credential_kind"])
        for each in found.json()["data"]
    ] == [
        ("api key", "Robo (API key)", "api_key"),
        ("its token", "Robo (API key)", "api_key"),
        ("token of a client secret", "Robo (API key)", "client_secret"),
        ("token of a key file", "Robo (key file)", "key_file"),
        ("session of a key file", "Robo (key file)", "key_file"),
    ]
    front.write_counts()
    used = {each.actor_credential_kind for each in events(house) if each.action == "credential.used"}
    assert {"api_key", "client_secret", "key_file"} <= used


def test_actors_are_found_by_whatever_names_them(front: Front) -> None:
    """B9 breaks: `--actor` with a name that a person knows finds nothing, or another actor."""
    house = front.house
    bot = machine(front, "CI bot", roles=("organization-admin",))
    other = machine(front, "Other", roles=("organization-admin",), username="ostiary-sa-other")
    for each in (bot, other):
        assert (
            front.ask("POST", "/v1/projects", {"name": each.view.account.username}, key=each.api_key).status
            == 201
        )

    def found(actor: str) -> list[str]:
        answer = front.ask(
            "GET", f"/v1/audit-events?action=project.created&actor={actor}", key=house.alice_key
        )
        assert answer.status == 200, answer.body
        return [each["target"]["display"] for each in answer.json()["data"]]

    account = bot.view.account
    names = [
        account.id,
        account.client_id,
        bot.view.channel_identifier,
        account.username,
        bot.key.listed.credential.id,
    ]
    for name in (*names, "CI%20bot", "CI%20bot%20(API%20key)"):
        assert found(name) == ["ci-bot"], name
    assert found("ostiary-sa-other") == ["ostiary-sa-other"]
    assert found("alice@acme.test") == found(str(house.alice.actor.id)) == []
    # By its former name, and after it was deleted
    house.store.write(service_accounts.update, house.alice, account.id, {"display_name": "Builder"})
    house.store.write(service_accounts.delete, house.alice, account.id)
    for name in (*names, "CI%20bot", "Builder"):
        assert found(name) == ["ci-bot"], name


def test_a_name_does_not_stand_in_for_an_identity_in_the_filter(front: Front) -> None:
    """P5 breaks: a search for Alice's actions shows those of an account with her name."""
    house = front.house
    evil = machine(front, LOOKALIKE, roles=("organization-admin",))
    front.ask("POST", "/v1/projects", {"name": "Evil"}, key=evil.api_key)
    front.ask("POST", "/v1/projects", {"name": "Good"}, key=house.alice_key)
    answer = front.ask(
        "GET", f"/v1/audit-events?action=project.created&actor={LOOKALIKE}", key=house.alice_key
    )
    assert [each["target"]["display"] for each in answer.json()["data"]] == ["Good"]


@pytest.mark.promise("P19")
def test_an_actor_who_is_nobody_is_named(front: Front) -> None:
    """B9 breaks: a mistyped actor looks like one without actions, or the response reveals actors of other
    organizations.
    """
    house = front.house

    def asked(actor: str, key: str) -> tuple[int, list[str]]:
        answer = front.ask("GET", f"/v1/audit-events?actor={actor}", key=key)
        return answer.status, [each["code"] for each in answer.json().get("errors", [])]

    for actor in ("nobody", "eve@acme.test", "usr_01kavq00000000000000000000", "robo@acme.localhost"):
        assert asked(actor, house.alice_key) == (422, ["unknown-actor"]), actor
    silent = house.key(house.account("Silent"))
    credential = silent.listed.credential
    for actor in ("Silent", "silent", "silent@acme.localhost", credential.id, credential.owner_id):
        assert asked(actor, house.alice_key) == (200, []), actor
    bob = "bob@acme.test"
    assert asked(bob, house.alice_key) == (200, [])
    assert asked(bob, house.charlie_key) == (422, ["unknown-actor"])
    # An actor that no longer exists is found as long as the log names it.
    assert asked("Ostiary", house.charlie_key)[0] == 200


def test_a_revocations_body_is_an_object(front: Front) -> None:
    """Clients break that parse every response body: the body of a revocation is empty."""
    front.house.sign()
    robo = machine(front)
    answer = post(front, REVOKE, {"token": token_of(robo.by_secret())}, client=robo.client)
    assert (answer.status, answer.headers["content-type"], answer.json()) == (200, "application/json", {})


def test_who_logs_out_by_a_refresh_token_reads_as_who_they_are(front: Front) -> None:
    """P5 breaks: a logout is recorded as the application's, and its actor has no kind."""
    house = front.house
    house.sign()
    client = application(house, name="Reports")
    told = redeem(front, client, code_of(at_home(house, front, house.alice), client)).json()
    form = {"token": told["refresh_token"], "client_id": client.id}
    assert post(front, REVOKE, form).status == 200
    ended = next(each for each in events(house) if each.action == "session.revoked")
    assert (ended.actor_display, ended.actor_credential_kind) == ("alice@acme.test (session)", "session")
