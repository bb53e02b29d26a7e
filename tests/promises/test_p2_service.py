"""P2 with a real `ostiary serve` with two workers: both workers refuse the children of a parent that ended."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlencode

import pytest

from ostiary.core import jws
from tests import servers
from tests.conftest import PROVE
from tests.machines import (
    ACCESS_TOKEN,
    ALIAS_TOKEN,
    BY_ASSERTION,
    CLIENT_CREDENTIALS,
    EXCHANGE,
    FORM,
    INTROSPECT,
    JWT_BEARER,
    REVOKE,
    TOKEN,
    basic,
)
from tests.mutants import good
from tests.promises.line import Line, lines_to_each
from tests.promises.test_p12_postgresql_service import MASTER_KEY
from tests.servers import Ostiary

pytestmark = [pytest.mark.promise("P2"), pytest.mark.full]

ROUNDS = 50 if PROVE else 2
UNLIMITED = {
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
    "OSTIARY_DEFAULT_RATE_LIMIT": "none",
    "OSTIARY_DEFAULT_DELETION_DELAY": "0",
    "OSTIARY_TRUSTED_PROXIES": "127.0.0.1",
    "OSTIARY_WORKERS": "2",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ostiary]:
    environment = dict(UNLIMITED)
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        environment |= {"OSTIARY_DATABASE_URL": url, "OSTIARY_MASTER_KEY": MASTER_KEY}
    with servers.ostiary(tmp_path / "data", None, None, **environment) as found:
        yield found


def token(line: Line, form: Mapping[str, str], path: str = TOKEN, **fields: str) -> str:
    answer = line.send("POST", path, urlencode(form).encode(), {"content-type": FORM, **fields})
    assert answer.status == 200, answer.body
    return str(answer.json()["access_token"])


@dataclass(frozen=True, slots=True)
class Robo:
    account: str
    credentials: Mapping[str, str]
    """Ids by kind."""
    texts: Mapping[str, tuple[str, str]]
    """Name to (text, kind of the credential that it came from)."""


def move_in(line: Line, name: str) -> Robo:
    made = line.made("/v1/service-accounts", {"display_name": name, "roles": [{"role": "developer"}]})
    account = made["service_account"]
    kinds = {
        "api_key": {"kind": "api_key"},
        "client_secret": {"kind": "client_secret"},
        "key_file": {"kind": "key_file", "algorithm": "EdDSA"},
    }
    created = {
        kind: line.made(f"/v1/service-accounts/{account['id']}/credentials", body)
        for kind, body in kinds.items()
    }
    key, word, file = (created[kind]["secret"] for kind in kinds)
    private = jws.private_key("EdDSA", file["private_key"].encode())

    def assertion(who: str) -> str:
        now = int(time())
        claims = {
            "iss": who,
            "sub": who,
            "aud": file["token_uri"],
            "iat": now,
            "exp": now + 300,
            "jti": f"{name} {who}",
        }
        return good(private, claims, {"alg": "EdDSA", "typ": "JWT", "kid": file["key_id"]})

    client = {"authorization": basic(file["client_id"], word)}
    own = {"grant_type": CLIENT_CREDENTIALS}
    traded = {"grant_type": EXCHANGE, "subject_token_type": ACCESS_TOKEN}
    by_secret = token(line, own, **client)
    signed = {"client_assertion_type": BY_ASSERTION, "client_assertion": assertion(file["client_id"])}
    grant = {"grant_type": JWT_BEARER, "assertion": assertion(file["client_email"])}
    texts = {
        "API key": (key, "api_key"),
        "token by client secret": (by_secret, "client_secret"),
        "token of the alias": (token(line, own, ALIAS_TOKEN, **client), "client_secret"),
        "token by jwt-bearer": (token(line, grant), "key_file"),
        "token by private_key_jwt": (token(line, own | signed), "key_file"),
        "token exchanged for an API key": (token(line, traded | {"subject_token": key}), "api_key"),
        "token exchanged for a token": (token(line, traded | {"subject_token": by_secret}), "client_secret"),
    }
    ids = {kind: each["credential"]["id"] for kind, each in created.items()}
    return Robo(account["id"], ids, texts)


def _accepted(line: Line, path: str, text: str) -> bool:
    answer = line.send("GET", path, None, {"authorization": f"Bearer {text}", **FROM})
    assert answer.status in (200, 401, 403), answer.body
    return answer.status == 200


FROM = {"x-forwarded-for": "192.0.2.1"}
ENDPOINTS: Mapping[str, Callable[[Line, str], bool]] = {
    "verify": lambda line, text: bool(
        line.ask("POST", "/v1/verify", {"credential": text, "ip": "192.0.2.1"}).json()["valid"]
    ),
    "authorize": lambda line, text: _accepted(line, "/v1/authorize/-", text),
    "capabilities": lambda line, text: _accepted(line, "/v1/capabilities", text),
    "management": lambda line, text: _accepted(line, "/v1/service-accounts?limit=1", text),
    "introspect": lambda line, text: bool(
        line.send(
            "POST",
            INTROSPECT,
            urlencode({"token": text, "ip": "192.0.2.1"}).encode(),
            {"content-type": FORM, "x-api-key": line.key},
        ).json()["active"]
    ),
}

# The request that ends a parent ({account}, {credential}), and the credential whose children end.
KINDS = ("api_key", "client_secret", "key_file")
ENDS: Mapping[str, tuple[str, str, Any]] = {
    "account disabled": ("POST", "/v1/service-accounts/{account}/disable", None),
    "account deleted": ("DELETE", "/v1/service-accounts/{account}", None),
    "deactivated": ("POST", "/v1/credentials/{credential}/deactivate", None),
    "revoked": ("POST", "/v1/credentials/{credential}/revoke", None),
    "deleted": ("DELETE", "/v1/credentials/{credential}", None),
    "bound to addresses": ("PATCH", "/v1/credentials/{credential}", {"allowed_ips": ["203.0.113.0/24"]}),
}
PARENTS = [(how, kind) for how in ENDS for kind in ((None,) if how.startswith("account") else KINDS)]
"""None: everything of the account ends."""


def test_what_came_from_a_parent_dies_with_it_on_every_worker(server: Ostiary) -> None:
    """P2 breaks: a worker accepts a child after another worker confirmed the end of its parent."""
    accepted, refused = Counter[str](), Counter[str]()
    asked = 0
    with ExitStack() as stack:
        one, other = (lines[0] for lines in lines_to_each(server, stack, 1).values())
        for number in range(ROUNDS):
            for how, kind in PARENTS:
                robo = move_in(one, f"{kind} {how} {number}")
                for line in (one, other):
                    for name, (text, _) in robo.texts.items():
                        for endpoint, accepts in ENDPOINTS.items():
                            assert accepts(line, text), f"{name} at {endpoint} before"
                method, path, body = ENDS[how]
                credential = "" if kind is None else robo.credentials[kind]
                answer = one.ask(method, path.format(account=robo.account, credential=credential), body)
                assert answer.status in (200, 204), answer.body
                for line, (endpoint, accepts) in zip(
                    cycle((other, one)), list(ENDPOINTS.items()) * 2, strict=False
                ):
                    for name, (text, origin) in robo.texts.items():
                        if kind in (None, origin):
                            asked += 1
                            accepted[f"{how}: {name} at {endpoint}"] += accepts(line, text)
                        else:
                            refused[f"{how}: {name} at {endpoint}"] += not accepts(line, text)
    print(
        f"{ROUNDS * len(PARENTS)} ended, {asked} requests after, {accepted.total()} accepted, {refused.total()} refused"
    )
    assert not +accepted
    assert not +refused


def test_a_token_that_was_revoked_is_dead_on_every_worker(server: Ostiary) -> None:
    """P2 breaks: a worker accepts a token, or its exchanged token, after another worker confirmed the revocation."""
    with ExitStack() as stack:
        one, other = (lines[0] for lines in lines_to_each(server, stack, 1).values())
        for number in range(ROUNDS):
            robo = move_in(one, f"Robo {number}")
            ours = [robo.texts[f"token {how}"][0] for how in ("by client secret", "exchanged for a token")]
            alive = [text for text, _ in robo.texts.values() if text not in ours]
            for line in (one, other):
                assert all(accepts(line, text) for text in (*ours, *alive) for accepts in ENDPOINTS.values())
            assert one.ask("POST", REVOKE, {"token": ours[0]}).status == 200
            for line in (other, one):
                assert not any(accepts(line, text) for text in ours for accepts in ENDPOINTS.values())
                assert all(accepts(line, text) for text in alive for accepts in ENDPOINTS.values())
