"""Attacks on sign-in: session fixation, forged forms, password guesses, account enumeration, open redirects."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ostiary.console.next_url import local
from ostiary.core.instant import MINUTE
from ostiary.http.cookies import of, own_origin
from ostiary.node.app import PAGES
from tests.cast import Front, House
from tests.console.browser import OTHER, PASSWORD, Browser, give_password, text_of
from tests.services.questions import all_rows, events

pytestmark = pytest.mark.promise("P24")

ALICE = "alice@acme.test"
RAIN = "only Charlie knows this"
POSTS = [route.path for route in PAGES if "POST" in (route.methods or ())]
FIXED = "session_" + "0" * 32 + "A" * 44


@pytest.fixture
def front(house: House, tmp_path: Path) -> Iterator[Front]:
    """The application on both databases."""
    give_password(house, house.alice)
    give_password(house, house.charlie, RAIN)
    found = Front(house, tmp_path)
    yield found
    found.close()


def test_a_session_cannot_be_fixed(front: Front) -> None:
    """P24 breaks: a session cookie that an attacker set before becomes the session of the person who signs in."""
    attacker = Browser(front)
    attacker.sign_in("charlie@umbrella.test", RAIN)
    ended = attacker.session
    attacker.submit("/account", "/sign-out")
    seen: set[str] = set()
    for before in (FIXED, ended, "", "x"):
        victim = Browser(front, jar={"ostiary_session": before})
        assert victim.sign_in(ALICE).status == 303
        assert victim.session not in seen | {before}
        seen.add(victim.session)
        assert Browser(front, jar={"ostiary_session": before}).get("/account").status == 303
        again = victim.submit("/sign-in?again=1", "/sign-in", password=PASSWORD)
        assert again.status == 303
        assert victim.session not in seen, "the secret changes when the password is confirmed"
        seen.add(victim.session)
    assert len(seen) == 8
    alive = [Browser(front, jar={"ostiary_session": each}).get("/account").status for each in seen]
    assert sorted(alive) == [200] * 4 + [303] * 4, "each confirmed one is worth nothing by its first secret"


def test_a_live_session_of_the_attacker_is_not_adopted(front: Front) -> None:
    """P24 breaks: the victim signs in, and the attacker's cookie becomes the victim's session."""
    attacker = Browser(front)
    attacker.sign_in("charlie@umbrella.test", RAIN)
    victim = Browser(front, jar={"ostiary_session": attacker.session})
    form = {"form_token": victim.token("/sign-in?again=1"), "email": ALICE, "password": PASSWORD}
    assert victim.post("/sign-in", form).status == 401, (
        "who is signed in confirms; another one signs out first"
    )
    assert ALICE not in text_of(attacker.get("/account"))


def test_forms_of_others_change_nothing(front: Front) -> None:
    """P24 breaks: a form of another site, or of another session, acts for the person who views it."""
    house = front.house
    alice, charlie, nobody = Browser(front), Browser(front), Browser(front)
    alice.sign_in(ALICE)
    charlie.sign_in("charlie@umbrella.test", RAIN)
    good = alice.token("/account")
    invited = front.ask(
        "POST", "/v1/invitations", {"email": "eve@acme.test", "roles": []}, key=house.alice_key
    ).json()
    link = front.ask("POST", f"/v1/members/{house.bob.actor.id}/password-reset", key=house.alice_key).json()[
        "link"
    ]
    fields = {
        "email": ALICE, "password": PASSWORD, "current": PASSWORD, "new": OTHER,
        "session": front.ask("GET", "/v1/sessions", key=house.alice_key).json()["data"][0]["id"],
        "grant": "gra_x", "invitation": invited["secret"], "reset": link.partition("=")[2],
    }  # fmt: skip
    forged: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("no token", {}, alice.headers),
        ("empty token", {"form_token": ""}, alice.headers),
        ("another session's token", {"form_token": charlie.token("/account")}, alice.headers),
        ("a token from before", {"form_token": nobody.token("/sign-in")}, alice.headers),
        ("two tokens", {"form_token": [good, good]}, alice.headers),
        ("another origin", {"form_token": good}, {"origin": "https://evil.example"}),
        ("no origin", {"form_token": good}, {"origin": "null"}),
        ("another port", {"form_token": good}, {"origin": "http://localhost:8081"}),
        ("another site", {"form_token": good}, {"sec-fetch-site": "cross-site"}),
        ("a sister site", {"form_token": good}, {"sec-fetch-site": "same-site"}),
        ("both", {"form_token": good}, {"origin": "http://localhost:8080", "sec-fetch-site": "cross-site"}),
    ]
    before, refused = all_rows(house), 0
    for path in POSTS:
        for name, token, headers in forged:
            alice.headers = dict(headers)
            answer = alice.post(path, {**fields, **token})
            assert (answer.status, "set-cookie" in answer.headers) == (403, False), (path, name)
            refused += 1
    assert all_rows(house) == before
    print(f"{refused} forged forms at {len(POSTS)} addresses: all 403, nothing changed")
    assert refused == len(POSTS) * len(forged)
    assert len(POSTS) >= 8


def plain(answer_body: str, email: str) -> str:
    return re.sub(r'name="form_token" value="[^"]+"', "", answer_body.replace(email, "EMAIL"))


def test_nobody_learns_who_is_there(front: Front) -> None:
    """P24 breaks: the response to a wrong password reveals which email addresses have accounts."""
    for known, unknown in ((ALICE, "alicf@acme.test"), ("bob@acme.test", "bobby@acme.test")):
        seen: list[list[tuple[int, str, str]]] = []
        for email, peer in ((known, "192.0.2.7"), (unknown, "192.0.2.8")):
            browser = Browser(front, peer=peer)
            answers = [browser.sign_in(email, OTHER) for _ in range(7)]
            seen.append(
                [
                    (
                        each.status,
                        str(
                            {
                                n: v
                                for n, v in each.headers.items()
                                if n not in ("x-request-id", "content-length")
                            }
                        ),
                        plain(text_of(each), email),
                    )
                    for each in answers
                ]
            )
        assert seen[0] == seen[1]
        assert [status for status, _, _ in seen[0]] == [401] * 5 + [429] * 2
        front.house.clock.advance(2 * MINUTE)


def test_guesses_are_limited_at_once_as_one_by_one(front: Front) -> None:
    """P10 breaks: parallel requests allow more guesses."""
    guesses = 60
    browsers = [Browser(front, peer=f"192.0.2.{1 + number % 20}") for number in range(guesses)]
    for browser in browsers:
        browser.get("/sign-in")
    tokens = [browser.token("/sign-in") for browser in browsers]

    def tried(email: str, among: int) -> list[int]:
        requests = [
            browser.request(
                "POST", "/sign-in", {"form_token": token, "email": email, "password": f"{OTHER} {number}"}
            )
            for number, (browser, token) in enumerate(zip(browsers[:among], tokens, strict=False))
        ]
        return [answer.status for answer in front.ask_at_once(requests)]

    for browser in browsers:
        browser.peer = "198.51.100.1"
    one = tried(ALICE, guesses)
    assert (one.count(401), one.count(429)) == (5, guesses - 5)
    answer = browsers[0].sign_in(ALICE)
    assert answer.status == 429, "the right password waits as well"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    front.house.clock.advance(2 * MINUTE)
    assert browsers[0].sign_in(ALICE).status == 303
    print(f"{guesses} guesses at once: {one.count(401)} answered, {one.count(429)} refused")


def test_an_address_and_an_email_have_limits_of_their_own(front: Front) -> None:
    """P10 breaks: changing the email or the IP address gives unlimited guesses."""
    browser = Browser(front, peer="198.51.100.9")
    seen = [browser.sign_in(f"user{number}@acme.test", OTHER).status for number in range(30)]
    assert seen == [401] * 20 + [429] * 10
    assert Browser(front, peer="198.51.100.10").sign_in(ALICE, OTHER).status == 401
    front.house.clock.advance(2 * MINUTE)
    crowd = [Browser(front, peer=f"198.51.101.{number}") for number in range(1, 11)]
    seen = [each.sign_in("popular@acme.test", OTHER).status for each in crowd for _ in range(4)]
    assert seen == [401] * 30 + [429] * 10, "a network has a limit as well"
    front.house.clock.advance(2 * MINUTE)
    many = [Browser(front, peer=f"10.0.{number}.1") for number in range(1, 32)]
    seen = [each.sign_in("popular@acme.test", OTHER).status for each in many for _ in range(4)]
    assert seen == [401] * 100 + [429] * 24
    front.write_counts()
    assert "rate_limited" in {e.reason for e in events(front.house) if e.action == "credential.refused"}


def test_right_passwords_cost_nothing(front: Front) -> None:
    """P10 breaks: an office where many people sign in at the same time is locked out."""
    for _ in range(40):
        assert Browser(front).sign_in(ALICE).status == 303


def test_the_current_password_is_limited_too(front: Front) -> None:
    """P10 breaks: a stolen session allows password guesses on another page."""
    browser = Browser(front)
    browser.sign_in(ALICE)
    seen = [
        browser.submit("/account", "/account/password", current=f"{OTHER} {number}", new=OTHER).status
        for number in range(4)
    ]
    seen += [browser.submit("/sign-in?again=1", "/sign-in", password=OTHER).status for _ in range(3)]
    assert seen == [401] * 5 + [429] * 2
    assert browser.get("/account").status == 200


def test_a_reset_is_used_once_by_fifty(front: Front) -> None:
    """P8 breaks: two people with the same link both choose the password."""
    house, racers, rounds = front.house, 50, 3
    for _ in range(rounds):
        path = f"/v1/members/{house.alice.actor.id}/password-reset"
        token = front.ask("POST", path, key=house.alice_key).json()["link"].partition("=")[2]
        browsers = [Browser(front) for _ in range(racers)]
        tokens = [browser.token(f"/password/reset?reset={token}") for browser in browsers]
        answers = front.ask_at_once(
            [
                browser.request(
                    "POST",
                    "/password/reset",
                    {"form_token": each, "reset": token, "new": f"{OTHER} {number}"},
                )
                for number, (browser, each) in enumerate(zip(browsers, tokens, strict=True))
            ]
        )
        statuses = [answer.status for answer in answers]
        print(f"{racers} at once: {statuses.count(303)} chose, {statuses.count(404)} refused, "
              f"{statuses.count(503)} told to come again")  # fmt: skip
        assert statuses.count(303) == 1
        assert set(statuses) <= {303, 404, 503}
    assert [each.action for each in events(house)].count("password_reset.used") == rounds


EVIL = """
//evil.example
///evil.example
////evil.example
/\\evil.example
\\\\evil.example
\\/evil.example
/\\/evil.example
https:evil.example
https:/evil.example
https://evil.example
HTTPS://evil.example
http://localhost:8080.evil.example/
http://localhost:8080@evil.example/
javascript:alert(1)
JaVaScRiPt:alert(1)
data:text/html,x
vbscript:x
ftp://evil.example
mailto:x@evil.example
%2f%2fevil.example
%2fevil.example
/%2fevil.example
/%2f%2fevil.example
/%5cevil.example
/%5C%5Cevil.example
/%09/evil.example
/.//evil.example
/..//evil.example
/./\\evil.example
/a/..//evil.example
/a//evil.example
/%2e/x
/%2E%2e/x
/..
/.
evil.example
.evil.example
@evil.example
?next=//evil.example
#//evil.example
/x#//evil.example
//user:pass@evil.example
//evil.example:80/
///
//
/x"onload=y
/<script>
/x y
/{evil}
/[::1]
""".strip().splitlines()
EVIL += [
    "", " /x", "/x ", "\t//evil.example", "/\t/evil.example", "/\n/evil.example", "/\r\nset-cookie: a=b", "/\x00x",
    "/\u2044evil.example", "/\uff0fevil.example", "\u3002/evil", "/\u202eevil", "/" + "a" * 8192, "/x?\r\nx: y",
    "/x?\\", "/x?a b",
]  # fmt: skip


def test_sign_in_leads_nowhere_else(front: Front) -> None:
    """P24 breaks: a link to our sign-in page redirects to another site, which asks for the password again."""
    for evil in EVIL:
        assert local(evil, "/account") == "/account", evil
    browser = Browser(front)
    browser.sign_in(ALICE)
    token, sent = browser.token("/account"), 0
    for evil in (each for each in EVIL if "\x00" not in each):
        form = {"form_token": token, "password": PASSWORD, "next": evil}
        assert browser.post("/sign-in", form).headers["location"] == "/account", evil
        sent += 1
    print(f"{len(EVIL)} addresses of others refused, {sent} of them by the page")
    assert len(EVIL) >= 60
    browser.submit("/account", "/sign-out", next="//evil.example")
    assert browser.session == ""


@pytest.mark.parametrize(
    "good",
    ["/account", "/", "/oauth/device/verify?user_code=WDJB-MJHT", "/a/b/", "/a%20b", "/x?",
     "/oauth/authorize?response_type=code&redirect_uri=http://127.0.0.1:4711/cb&scope=read:a%20write:b&x=//y",
     "/invitations/accept?invitation=invite-0"],
)  # fmt: skip
def test_sign_in_leads_back(good: str) -> None:
    """CLI breaks: a person who had to sign in does not return to the page."""
    assert local(good, "/account") == good


def test_our_origin_is_written_as_browsers_write_it() -> None:
    """P24 breaks: forms are refused if the public URL contains the default port."""
    assert own_origin("https://auth.example:443/x") == "https://auth.example"
    assert own_origin("http://Localhost:8080") == "http://localhost:8080"
    assert own_origin("http://[::1]:8080") == "http://[::1]:8080"
    assert of("https://auth.example").name == b"__Host-ostiary_session"
