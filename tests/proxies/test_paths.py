"""The path and method that Ostiary checks are the ones that the service behind gets, in any spelling."""

from collections import Counter

import pytest

from tests.cast import SEED
from tests.conftest import PROVE
from tests.proxies.forms import HOSTILE, SERVED, admitted, composed, readings
from tests.proxies.stage import Door

COMPOSED = 10_000 if PROVE else 200

pytestmark = [pytest.mark.full, pytest.mark.promise("P15")]


def test_the_forms_are_many() -> None:
    """P15 breaks unseen: the test tries fewer than 200 forms of a path."""
    assert len(set(HOSTILE)) == len(HOSTILE) >= 200
    assert not set(HOSTILE) & set(SERVED)


@pytest.mark.parametrize(
    "target, path",
    [
        ("/v1/public/..%252fsecrets", ("v1", "secrets")),
        ("/v1/public/..;x=y/secrets", ("v1", "secrets")),
        ("/v1/public/%c0%ae%c0%ae/secrets", ("v1", "secrets")),
        ("/v1/public/%e0%80%ae%e0%80%ae/secrets", ("v1", "secrets")),
        ("/v1/public/%uff0e%uff0e/secrets", ("v1", "secrets")),
        ("/v1/public/%ef%bc%8e%ef%bc%8e%ef%bc%8fsecrets", ("v1", "secrets")),
        ("/v1/public\\..\\secrets", ("v1", "secrets")),
        ("/v1/SECRETS%00", ("v1", "secrets")),
        ("http://agents.test//v1/./secrets.?x", ("v1", "secrets")),
    ],
)
def test_the_readings_find_what_is_meant(target: str, path: tuple[str, ...]) -> None:
    """P15 breaks unseen: the readings in this test miss a path that some server reads differently."""
    assert path in readings(target)
    assert not admitted("GET", path)


def test_no_spelling_reaches_what_the_rule_does_not_admit(door: Door, robo: tuple[str, str]) -> None:
    """P15 breaks: a path that two servers read differently reaches the service behind."""
    print(f"seed {SEED}")
    outcomes: Counter[int] = Counter()
    read = 0
    composition = list(composed(SEED, COMPOSED))
    for target in [*HOSTILE, *composition]:
        answer, seen = door.ask(target, robo[1])
        outcomes[answer.status] += 1
        for message in seen:
            found = readings(message.target)
            read += len(found)
            for path in found:
                assert admitted(message.method, path), f"{target!r} was served as {message.target!r}: {path}"
        # A response is 200 if and only if the service got the request.
        assert (answer.status == 200) == (len(seen) == 1), (target, answer.raw, seen)
    door.record("forms of a path", len(HOSTILE))
    door.record("paths composed at random", len(composition))
    for status, count in sorted(outcomes.items()):
        door.record(f"answers {status}" if status else "connections ended without an answer", count)
    door.record("readings of those served, all admitted", read)
    assert set(outcomes) <= {0, 200, 400, 403, 404, 405, 414, 426, 431, 500, 501, 502, 503}
    assert 0 < outcomes[200] < sum(outcomes.values()) / 5


@pytest.mark.parametrize("target", SERVED, ids=lambda target: target[:40])
def test_a_plain_path_is_served_as_it_was_sent(door: Door, robo: tuple[str, str], target: str) -> None:
    """P15 breaks: an ordinary request is refused, or the service behind gets another path."""
    answer, seen = door.ask(target, robo[1])
    assert answer.status == 200, answer.raw
    assert [(message.method, message.target) for message in seen] == [("GET", target)]


def test_a_target_with_scheme_and_host_is_judged_by_its_path(door: Door, robo: tuple[str, str]) -> None:
    """P15 breaks: a target in absolute form (RFC 9112 §3.2.2) is checked in one form and forwarded in another."""
    answer, seen = door.ask("http://agents.test/v1/agents?x=1", robo[1])
    assert answer.status == 200
    assert [message.target for message in seen] == ["/v1/agents?x=1"]
    answer, seen = door.ask("http://agents.test/v1/secrets", robo[1])
    assert (answer.status, seen) == (403, [])
