"""The table of steps. If two steps refuse, the earlier one determines the code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ostiary.auth.access_request import AccessRequest
from ostiary.auth.authenticator import STEPS, Authenticator
from ostiary.auth.rates import Rates
from ostiary.core import secret
from ostiary.core.access_rule import AccessRule, read_match
from ostiary.core.address import parse_address, parse_network
from ostiary.core.model import Standing, Token
from ostiary.core.permission import EVERYTHING
from ostiary.core.verdict import FORBIDDEN_CODES
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
from ostiary.storage.fact_cache import FactCache
from ostiary.storage.usage_buffer import UsageBuffer
from tests.cast import NOON, House

pytestmark = pytest.mark.promise("P1")

HERE = parse_address("192.0.2.1")
EVERYBODY = AccessRule("all", (read_match(None, "/**", [], None),))


@dataclass(frozen=True)
class Scene:
    """A presented credential, the facts found for it, and the request. It also serves as the lookup."""

    text: bytes
    found: Standing | None
    request: AccessRequest
    session: Token | None = None
    rule: AccessRule = EVERYBODY
    reads: bool = False

    def standing(self, _handle: object) -> Standing | None:
        return self.found

    def token(self, _text: bytes, _found: bytes) -> Token | None:
        return self.session

    def projects(self, _organization_id: str) -> dict[str, str]:
        return {}

    def key_files(self, _issuer: str) -> tuple[str, ...]:
        return ()

    def facts(self, **wrong: Any) -> "Scene":
        return replace(self, found=None if self.found is None else replace(self.found, **wrong))

    def asks(self, **wrong: Any) -> "Scene":
        return replace(self, request=self.request._replace(**wrong))

    def of_token(self, **wrong: Any) -> "Scene":
        return replace(self, session=None if self.session is None else replace(self.session, **wrong))


def barred(scene: Scene) -> Scene:
    found = scene.found
    return scene if found is None else scene.facts(principal=replace(found.principal, barred=True))


def suspended(scene: Scene) -> Scene:
    found = scene.found
    return (
        scene if found is None else scene.facts(organization=replace(found.organization, suspended_at=NOON))
    )


def nothing(scene: Scene) -> Scene:
    return replace(scene, session=None) if scene.session else replace(scene, found=None)


WRONG: dict[str, tuple[str, Callable[[Scene], Scene]]] = {
    # step: the code, and the change that makes the step refuse
    "form": ("malformed", lambda scene: replace(scene, text=scene.text[:-1])),
    "look-up": ("unknown", nothing),
    "digest": ("unknown", lambda scene: scene.facts(digest=b"\0" * 32)),
    "tenant of the asker": ("unknown", lambda scene: scene.asks(tenant="org_other")),
    "status": ("revoked", lambda scene: scene.facts(revoked_at=NOON)),
    "principal": ("disabled", barred),
    "organization": ("disabled", suspended),
    "token": ("expired", lambda scene: scene.of_token(expires_at=NOON)),
    "address": ("ip_not_allowed", lambda scene: scene.facts(networks=(parse_network("203.0.113.0/24"),))),
    "audience": ("wrong_audience", lambda scene: scene.of_token(audiences=("https://other.test",))),
    "project": ("project_not_allowed", lambda scene: scene.asks(project="nowhere")),
    "scope": ("insufficient_scope", lambda scene: scene.asks(scopes=frozenset({"fly:moon"}))),
    "resource": ("resource_not_allowed", lambda scene: scene.facts(resources=("agents/*",))),
    "access rule": (
        "kind_not_allowed",
        lambda scene: replace(scene, rule=replace(scene.rule, kinds=frozenset({"none"}))),
    ),
    "rate limit": ("rate_limited", lambda scene: scene.facts(rate_limit=1)),
}
OF_TOKENS = {"token", "audience"}
OF_SECRETS = {"digest"}
NAMES = [name for name, _ in STEPS]


@pytest.fixture
def authenticator(sqlite_house: House, tmp_path: Path) -> Iterator[Authenticator]:
    """An authenticator with an empty cache. Each scene provides its own facts."""
    house, key = sqlite_house, sqlite_house.store.installation.keyring.permits
    uses, failures = (MappedRateLimitStore(tmp_path / name, key, 64) for name in ("uses", "failures"))
    facts = FactCache(house.store, house.number, house.clock.monotonic, 5.0)
    facts.sync()
    rates = Rates(failures, house.clock)
    yield Authenticator(facts, UsageBuffer(), house.clock, house.store.installation, uses, rates)
    uses.close()
    failures.close()


@pytest.fixture
def scenes(sqlite_house: House, authenticator: Authenticator) -> tuple[Scene, Scene]:
    """A key, and a session that was created with one. Both are valid for everything requested."""
    house = sqlite_house
    created = house.key(house.account())
    found = authenticator.facts.load_standing(created.listed.credential.access_id)
    assert found is not None
    authenticator.facts.sync()
    authenticator.facts._forget_everything()
    authenticator.facts.sync()
    found, request = replace(found, rate_limit=None), AccessRequest(HERE)
    text = secret.create(secret.SESSION, bytes(range(64))).secret.reveal().encode()
    session = Token(
        "session", "ses_1", found.credential_id, EVERYTHING, (authenticator.issuer,), "", NOON, NOON + 1
    )
    return Scene(created.secret.reveal().encode(), found, request), Scene(text, found, request, session)


def told(authenticator: Authenticator, scene: Scene) -> str:
    """The code of a request judged by an access rule. With a rate limit, the code of the second request."""
    answer = ""
    for _ in range(2):
        verdict = authenticator.key_or_token(scene.text, scene.request, scene)
        answer = verdict.code
        if verdict.valid:
            described = (b"GET", b"/v1/agents")
            admission = authenticator.admit(scene.rule, described, scene.text, HERE, "192.0.2.1", scene)
            answer = admission.error or "valid"
    return answer


def test_every_step_is_tried() -> None:
    """Architecture breaks: a step of the table has no case here, or a case names an unknown step."""
    assert list(WRONG) == NAMES
    assert all(WRONG[name][0] in codes for name, codes in STEPS)


def test_the_earlier_step_decides(authenticator: Authenticator, scenes: tuple[Scene, Scene]) -> None:
    """P1, P19 break: a later refusal hides an earlier one, or reveals what the client may not know."""
    for scene, missing in zip(scenes, (OF_TOKENS, OF_SECRETS), strict=True):
        assert told(authenticator, scene) == "valid"
        steps = [name for name in NAMES if name not in missing]
        for first, second in combinations(steps, 2):
            both = WRONG[first][1](WRONG[second][1](scene))
            expected = WRONG[first][0]
            if (first, second) == ("access rule", "rate limit"):
                expected = "rate_limited"  # a caller in a loop must slow down
            assert told(authenticator, both) == expected, (first, second)


def test_a_limit_and_a_rule_that_does_not_match_replace_a_wrong_place(
    authenticator: Authenticator, scenes: tuple[Scene, Scene]
) -> None:
    """P10, API break: a loop of 403 responses is never told to wait, or a proxy gets a scope error instead of
    its rule's error.
    """
    outside = WRONG["address"][1](scenes[0])
    rule = AccessRule("agents", (read_match(["GET"], "/v1/agents", [], None),))

    def error(scene: Scene, target: bytes) -> str:
        return authenticator.admit(rule, (b"GET", target), scene.text, HERE, None, scene).error

    assert "ip_not_allowed" in FORBIDDEN_CODES
    assert error(outside, b"/v1/agents") == "ip_not_allowed"
    assert error(outside, b"/v1/plugins") == "no_match"
    limited = outside.facts(rate_limit=1)
    assert error(limited, b"/v1/agents") == "ip_not_allowed"
    assert error(limited, b"/v1/agents") == "rate_limited"
