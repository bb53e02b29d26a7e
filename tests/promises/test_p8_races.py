"""P8: a concurrent reuse has the same effect as a later reuse. The race is deterministic, in this process.

`test_p8_codes`, `test_p8_devices` and `test_p8_assertions` run the same races over real processes and nodes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest

from ostiary.storage.journal import Entry
from tests.applications import VERIFIER, application, code_of, redeem, refresh
from tests.cast import Answer, Front
from tests.devices import CLI, GRANT, begin, decide, enter
from tests.machines import TOKEN, machine, said
from tests.rfc.test_rfc7523_people import assertion, jwk, keyed, shown
from tests.services.questions import events
from tests.visitors import at_home

pytestmark = pytest.mark.promise("P8")

REFUSED = "400 invalid_grant"
Form = dict[str, str | None]


@pytest.fixture(autouse=True)
def signed(front: Front) -> None:
    front.house.sign()


@pytest.fixture
def race(front: Front, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Answer]]:
    """Sends forms to the token endpoint so that all of them are checked before the first is recorded."""

    def at_once(*forms: Form) -> list[Answer]:
        record, held = front.journal.record, list[tuple[Entry, asyncio.Future[bool]]]()

        def together(entry: Entry) -> asyncio.Future[bool]:
            if len(held) == len(forms):
                return record(entry)
            held.append((entry, asyncio.get_running_loop().create_future()))
            if len(held) == len(forms):
                for each, waiter in held:
                    record(each).add_done_callback(partial(_pass_on, waiter))
            return held[-1][1]

        with monkeypatch.context() as patch:
            patch.setattr(front.journal, "record", together)
            return front.ask_at_once([_request(front, form) for form in forms])

    return at_once


def _pass_on(waiter: asyncio.Future[bool], done: asyncio.Future[bool]) -> None:
    waiter.set_result(done.result())


def _request(front: Front, form: Form) -> Coroutine[Any, Any, Answer]:
    sent = {name: value for name, value in form.items() if value is not None}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return front.request("POST", TOKEN, raw=urlencode(sent).encode(), headers=headers)


def by_code(client: str, code: str, **others: str | None) -> Form:
    usual: Form = {
        "grant_type": "authorization_code",
        "client_id": client,
        "code": code,
        "redirect_uri": "https://app.example/callback",
        "code_verifier": VERIFIER,
    }
    return usual | others


def winner(answers: list[Answer]) -> dict[str, Any]:
    """Return the tokens of the one success response."""
    [found] = [answer.json() for answer in answers if answer.status == 200]
    return dict(found)


def test_a_code_redeemed_twice_in_one_moment_leaves_no_token(
    front: Front, race: Callable[..., list[Answer]]
) -> None:
    """P8 breaks: a thief who redeems a code at the same moment as its client keeps the session."""
    client = application(front.house)
    code = code_of(at_home(front.house, front, front.house.bob), client)
    answers = race(*[by_code(client.id, code)] * 3)
    assert sorted(said(answer) for answer in answers) == ["200 None", REFUSED, REFUSED]
    won = winner(answers)
    assert not front.verify(won["access_token"])["valid"]
    assert said(refresh(front, client, won["refresh_token"])) == REFUSED
    ended = [each for each in events(front.house) if each.action == "session.revoked"]
    assert [each.details["because"] for each in ended] == ["its code was used again"]


def test_a_device_code_redeemed_twice_in_one_moment_leaves_no_token(
    front: Front, race: Callable[..., list[Answer]]
) -> None:
    """P8 breaks: a thief who polls with a device code at the same moment as the device keeps the login."""
    alice = at_home(front.house, front, front.house.alice)
    asked = begin(front)
    enter(alice, asked["user_code"])
    decide(alice, asked["user_code"], "allow", front.house.acme.id)
    answers = race(*[{"grant_type": GRANT, "device_code": asked["device_code"], "client_id": CLI}] * 2)
    assert sorted(said(answer) for answer in answers) == ["200 None", REFUSED]
    assert not front.verify(winner(answers)["access_token"])["valid"]


def test_a_refresh_in_one_moment_has_one_successor_and_lives(
    front: Front, race: Callable[..., list[Answer]]
) -> None:
    """P9 breaks: two tabs that refresh at the same moment sign the person out, or get two successors."""
    client = application(front.house)
    body = redeem(front, client, code_of(at_home(front.house, front, front.house.bob), client)).json()
    form = {
        "grant_type": "refresh_token",
        "client_id": client.id,
        "refresh_token": body["refresh_token"],
    }
    answers = race(form, form)
    assert [answer.status for answer in answers] == [200, 200]
    [successor] = {answer.json()["refresh_token"] for answer in answers}
    assert refresh(front, client, successor).status == 200


def test_a_wrong_request_in_the_same_moment_ends_nothing(front: Front) -> None:
    """P9 breaks: a person who saw a code, without its verifier or the client's key, revokes the session."""
    client = application(front.house)
    code = code_of(at_home(front.house, front, front.house.bob), client)
    requests = [
        _request(front, by_code(client.id, code)),
        _request(front, by_code(client.id, code, code_verifier="x" * 43)),
        _request(front, by_code(application(front.house).id, code)),
        _request(front, by_code(client.id, code, redirect_uri="https://app.example/other")),
    ]
    answers = front.ask_at_once(requests)
    assert [said(answer) for answer in answers] == ["200 None", REFUSED, REFUSED, REFUSED]
    assert front.verify(winner(answers)["access_token"])["valid"]


def test_a_client_assertion_used_before_ends_nothing(front: Front, race: Callable[..., list[Answer]]) -> None:
    """P9 breaks: an assertion that was used for one code revokes another code's session when it is sent with that code."""
    client = keyed(front, jwk("EdDSA"))
    first, second = (code_of(at_home(front.house, front, front.house.alice), client) for _ in range(2))
    proof = shown(assertion(front, client))
    answers = race(by_code(client.id, first, **proof), by_code(client.id, second, **proof))
    assert sorted(said(answer) for answer in answers) == ["200 None", REFUSED]
    assert front.verify(winner(answers)["access_token"])["valid"]
    other = second if answers[0].status == 200 else first
    assert redeem(front, client, other, **shown(assertion(front, client))).status == 200


@pytest.mark.parametrize("at_once", [True, False])
def test_an_assertion_used_again_ends_nothing(
    front: Front, race: Callable[..., list[Answer]], at_once: bool
) -> None:
    """Divergences, "Assertions", break: presenting an assertion again revokes the token that it was exchanged for."""
    robo = machine(front)
    form: Form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": robo.assertion("grant"),
    }
    answers = race(form, form) if at_once else [*race(form), *race(form)]
    assert sorted(said(answer) for answer in answers) == ["200 None", REFUSED]
    assert front.verify(winner(answers)["access_token"])["valid"]
