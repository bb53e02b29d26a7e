"""P10: no number of strangers can lock out a person with a known browser. Limits by network and by target."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ostiary.console import known_browser, password_queue
from ostiary.console.password_check import AS, KNOWN
from ostiary.core.address import network_of, parse_address
from ostiary.core.instant import MINUTE
from ostiary.core.problem import Problem
from ostiary.services import passwords
from tests.cast import Front
from tests.console.browser import OTHER, PASSWORD, give_password
from tests.servers import PATIENCE
from tests.visitors import Browser, Page, browser

pytestmark = pytest.mark.promise("P10")

ALICE, BOB = "alice@acme.test", "bob@acme.test"


@pytest.fixture
def front(front: Front) -> Front:
    give_password(front.house, front.house.alice)
    give_password(front.house, front.house.bob)
    return front


def at(front: Front, peer: str) -> Browser:
    found = browser(front)
    found.peer = peer
    return found


def sign_in(who: Browser, email: str = ALICE, password: str = PASSWORD) -> Page:
    return who.enter("/sign-in", {"email": email, "password": password, "next": "/account"})


def besiege(front: Front) -> None:
    """Send wrong passwords for Alice from 30 networks, until strangers reach the limit."""
    statuses = [
        sign_in(at(front, f"10.1.{number}.1"), password=OTHER).status
        for number in range(30)
        for _ in range(4)
    ]
    assert statuses.count(401) == AS
    assert statuses[-1] == 429


def forget_session(who: Browser) -> None:
    """Remove the session cookie, as if the session had ended. Other cookies stay."""
    del who.cookies["ostiary_session"]


def test_strangers_who_guess_do_not_keep_the_person_out(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P10 breaks: guessing a password from a hundred networks locks its owner out."""
    monkeypatch.setattr(
        passwords, "verify_password", lambda kept, text: kept is not None and text == PASSWORD
    )
    alice, bob = at(front, "192.0.2.1"), at(front, "192.0.2.2")
    assert sign_in(alice).status == sign_in(bob, BOB).status == 200
    forget_session(alice)
    forget_session(bob)
    besiege(front)
    assert sign_in(at(front, "198.51.100.1")).status == 429, "strangers have had their share"
    assert sign_in(alice).status == 200
    alice.peer = "203.0.113.77"
    forget_session(alice)
    assert sign_in(alice).status == 200, "in another network as well"
    assert sign_in(bob, ALICE).status == 429, "a browser is known for the person that signed in there"
    assert sign_in(bob, BOB).status == 200


def test_a_known_browser_guesses_no_more_than_others(front: Front) -> None:
    """P10 breaks: a person with another's browser can guess without limit, or guesses of strangers block that browser."""
    alice = at(front, "192.0.2.1")
    sign_in(alice)
    forget_session(alice)
    seen = [sign_in(alice, password=OTHER).status for _ in range(KNOWN + 2)]
    assert seen == [401] * KNOWN + [429] * 2
    front.house.clock.advance(MINUTE)
    assert sign_in(alice).status == 200


@pytest.mark.parametrize("change", ["cut", "swapped", "another's"])
def test_a_forged_cookie_is_a_strangers(front: Front, change: str) -> None:
    """P10 breaks: a forged cookie gives unlimited guesses."""
    alice, bob = at(front, "192.0.2.1"), at(front, "192.0.2.2")
    sign_in(alice)
    sign_in(bob, BOB)
    name = "ostiary_browser"
    text = alice.cookies[name]
    forged = {"cut": text[:-1], "swapped": text[32:] + text[:32], "another's": bob.cookies[name]}[change]
    seen = []
    for number in range(KNOWN + 3):
        thief = at(front, "198.51.100.1")
        thief.cookies[name] = forged if change != "swapped" else f"{number:032x}{forged[32:]}"
        seen.append(sign_in(thief, password=OTHER).status)
    assert seen == [401] * 5 + [429] * 3


def test_the_cookie_lets_nobody_in(front: Front) -> None:
    """P1 breaks: the browser cookie opens the account, contains the email address, or is readable by a script."""
    alice = at(front, "192.0.2.1")
    sign_in(alice)
    text = alice.cookies.pop("ostiary_browser")
    assert "alice" not in text
    forget_session(alice)
    alice.cookies["ostiary_browser"] = text
    alice.cookies["ostiary_session"] = text
    assert alice.get("/account").target.startswith("/sign-in")
    assert known_browser.SECONDS == 180 * 24 * 3600


def test_a_link_makes_a_browser_known(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """P10 breaks: during an attack nobody can help a person with a new machine."""
    monkeypatch.setattr(
        passwords, "verify_password", lambda kept, text: kept is not None and text != PASSWORD
    )
    path = f"/v1/members/{front.house.alice.actor.id}/password-reset"
    link = (
        front.ask("POST", path, key=front.house.alice_key)
        .json()["link"]
        .removeprefix("http://localhost:8080")
    )
    besieged = at(front, "198.51.100.1")
    besieged.enter(link, {"reset": link.partition("=")[2], "new": OTHER})
    monkeypatch.setattr(
        passwords, "verify_password", lambda kept, text: kept is not None and text == PASSWORD
    )
    besiege(front)
    monkeypatch.setattr(passwords, "verify_password", lambda kept, text: kept is not None and text == OTHER)
    assert sign_in(besieged, password=OTHER).status == 200


def test_a_flood_of_hashes_leaves_a_turn_for_who_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: guesses of strangers delay everybody who signs in, chooses a password or uses a link."""
    going, waiting = threading.Event(), threading.Semaphore(0)

    def slow(kept: Any, text: str) -> bool:
        if text == "stranger":
            waiting.release()
            assert going.wait(PATIENCE)
        return True

    monkeypatch.setattr(passwords, "verify_password", slow)
    monkeypatch.setattr(password_queue, "PATIENCE", PATIENCE)

    def stranger(network: str) -> str:
        try:
            return str(password_queue.verify_password("hash", "stranger", network))
        except Problem as problem:
            return problem.reason or ""

    with ThreadPoolExecutor(40) as pool:
        one = [pool.submit(stranger, "10.1.1.0/24") for _ in range(15)]
        assert waiting.acquire(timeout=PATIENCE)
        while sum(each.done() for each in one) < 15 - password_queue.MOST_OF_A_NETWORK:
            threading.Event().wait(0.001)
        other = pool.submit(stranger, "10.1.2.0/24")
        assert password_queue.verify_password("hash", "known") is True
        assert not other.done()
        going.set()
        answers = [each.result(PATIENCE) for each in one]
        assert other.result(PATIENCE) == "True", "one network does not fill the queue"
    assert answers.count("True") == password_queue.MOST_OF_A_NETWORK
    assert set(answers) == {"True", "passwords busy"}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        (None, "None"),
    ],
)
def test_networks(address: str | None, network: str) -> None:
    """P10 breaks: the owner of a network has a separate limit for each of its addresses."""
    assert network_of(None if address is None else parse_address(address)) == network
