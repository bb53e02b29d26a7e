"""P8: a code is redeemed once, and a refresh token has one successor, however many requests present it concurrently.

A code that several requests present leaves no valid token. A refresh token within its grace period leaves one valid
family. Both databases are tested, over all processes and nodes. Each is sent over fifty connections, which hold back
their last byte until all are ready. Public clients send identical requests. Clients with a key sign an assertion each.
"""

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPResponse
from itertools import count
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from ostiary.config import Settings
from ostiary.core import refresh
from ostiary.core.model import OAuthClient
from ostiary.core.permission import Caller
from ostiary.node.installation import OpenInstallation, open_installation
from ostiary.services import authorization_codes, consents
from ostiary.storage import clients, directory, sessions
from ostiary.storage.store import Tx
from ostiary.storage.tables import organizations, users
from tests import servers
from tests.applications import CHALLENGE, REDIRECT, VERIFIER
from tests.cast import SEED, caller
from tests.conftest import PROVE
from tests.machines import BY_ASSERTION, FORM, TOKEN
from tests.mutants import good
from tests.promises.line import Line, assert_ended, prove
from tests.promises.test_p12_postgresql_service import MASTER_KEY
from tests.servers import PATIENCE, Ostiary
from tests.signers import key

pytestmark = [pytest.mark.promise("P8"), pytest.mark.full]

TOKENS = 300 if PROVE else 6
AT_ONCE = 50
ISSUER = "http://127.0.0.1:8080"
UNLIMITED = {"OSTIARY_DEFAULT_RATE_LIMIT": "none", "OSTIARY_WORKERS": "2", "OSTIARY_ISSUER": ISSUER}
FIGURES: dict[str, object] = {}
_numbers = count()


@dataclass(frozen=True, slots=True)
class Scene:
    """One service with two processes, or two services, and their database."""

    nodes: list[Ostiary]
    opened: OpenInstallation
    alice: Caller


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        environment = dict(UNLIMITED)
        settings: dict[str, Any] = {"data": tmp_path / "one"}
        if request.param == "postgresql":
            settings["database_url"] = request.getfixturevalue("postgres_url")
            settings["master_key"] = MASTER_KEY
            environment |= {
                "OSTIARY_DATABASE_URL": settings["database_url"],
                "OSTIARY_MASTER_KEY": MASTER_KEY,
            }
        nodes = [stack.enter_context(servers.ostiary(tmp_path / "one", None, None, **environment))]
        if request.param == "postgresql":
            nodes.append(
                stack.enter_context(servers.ostiary(tmp_path / "two", nodes[0].first, None, **environment))
            )
        opened = stack.enter_context(closing(open_installation(Settings.model_validate(settings))))
        yield Scene(nodes, opened, _alice(opened))


def _alice(opened: OpenInstallation) -> Caller:
    with opened.store.engines.reader.connect() as connection:
        user_id = connection.execute(sa.select(users.c.id)).scalar_one()
        row = connection.execute(sa.select(organizations.c.id)).one()
    found = opened.store.read(_organization, row.id)
    return caller(found, user_id, "alice@acme.test", "organization-admin")


def _organization(tx: Tx, organization_id: str) -> Any:
    return directory.find_organization(tx, organization_id)


def registered(scene: Scene, keyed: bool) -> OAuthClient:
    """A public client, or one with a key."""
    client = OAuthClient(
        id=f"app_{scene.opened.store.entropy(13).hex()}",
        source="organization",
        organization_id=scene.alice.organization_id,
        project_id=None,
        access="user",
        name="Reports",
        redirect_uris=(REDIRECT,),
        grant_types=("authorization_code", "refresh_token"),
        scopes=(),
        auth_method="private_key_jwt" if keyed else "none",
        jwks={"keys": [key("EdDSA").as_dict(private=False)]} if keyed else None,
        jwks_uri=None,
        client_uri=None,
        created_at=scene.opened.store.clock(),
        disabled_at=None,
    )

    def insert(tx: Tx, _: Caller) -> None:
        clients.insert(tx, client)
        tx.confirm()

    scene.opened.store.write(insert, scene.alice)
    return client


def new_code(scene: Scene, client: OAuthClient) -> str:
    """The code of Alice's consent."""
    asked = consents.ConsentRequest(client, scene.alice.organization_id, ("read:plugins", "offline_access"))
    bound = authorization_codes.CodeRequest(REDIRECT, True, CHALLENGE)
    return scene.opened.store.write(authorization_codes.allow, scene.alice, asked, bound).reveal()


def proof(scene: Scene, client: OAuthClient) -> dict[str, str]:
    """Return the client authentication parameters. Each has a new assertion."""
    if client.jwks is None:
        return {"client_id": client.id}
    now = int(time())
    claims = {
        "iss": client.id,
        "sub": client.id,
        "aud": ISSUER,
        "iat": now,
        "exp": now + 60,
        "jti": f"{next(_numbers)}",
    }
    text = good(key("EdDSA"), claims, {"alg": "EdDSA", "typ": "JWT"})
    return {"client_assertion_type": BY_ASSERTION, "client_assertion": text}


def by_code(code: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }


def by_refresh_token(text: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": text}


def at_once(sockets: list[socket.socket], form: Callable[[], dict[str, str]]) -> list[tuple[int, Any]]:
    """Return status and body of the responses to one request per connection."""
    requests = []
    for _ in sockets:
        body = urlencode(form()).encode()
        head = f"POST {TOKEN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode() + body)
    for sock, whole in zip(sockets, requests, strict=True):
        sock.sendall(whole[:-1])
    for sock, whole in zip(sockets, requests, strict=True):
        sock.sendall(whole[-1:])
    answers = []
    for sock in sockets:
        response = HTTPResponse(sock)
        response.begin()
        answers.append((response.status, json.loads(response.read())))
        response.close()
    return answers


def number_of(scene: Scene, text: str) -> int:
    """Return the number of the current generation of a refresh token family."""
    claimed = refresh.read_claims(text.encode())
    assert claimed is not None
    found = scene.opened.store.read(sessions.find_family, claimed.family)
    assert found is not None
    return found[1].number


def test_of_all_who_come_at_once_one_wins(scene: Scene, request: pytest.FixtureRequest) -> None:
    """P8 breaks: a code is exchanged twice, refresh tokens of one family multiply, or a race causes a 500."""
    statuses: dict[str, Counter[int]] = {"codes": Counter(), "refresh tokens": Counter()}
    winners, successors, advanced = Counter[int](), Counter[int](), Counter[int]()
    with ExitStack() as stack:
        line = stack.enter_context(Line(scene.nodes[0].port, scene.nodes[0].key))
        sockets = [
            stack.enter_context(
                socket.create_connection(
                    ("127.0.0.1", scene.nodes[number % len(scene.nodes)].port), timeout=PATIENCE
                )
            )
            for number in range(AT_ONCE)
        ]
        applications = [registered(scene, keyed) for keyed in (False, True)]
        for number in range(TOKENS):
            client = applications[number % 2]
            code = new_code(scene, client)
            answers = at_once(sockets, lambda: by_code(code) | proof(scene, client))  # noqa: B023 - called at once
            statuses["codes"].update(status for status, _ in answers)
            won = [body["access_token"] for status, body in answers if status == 200]
            winners[len(won)] += 1
            lost = {(status, body["error"]) for status, body in answers if status != 200}
            assert lost == {(400, "invalid_grant")}, lost
            # The other requests reused the code, which revoked the session.
            for text in won:
                assert_ended(line, text, len(scene.nodes))

            code = new_code(scene, client)
            first = line.send(
                "POST",
                TOKEN,
                urlencode(by_code(code) | proof(scene, client)).encode(),
                {"content-type": FORM},
            ).json()["refresh_token"]
            answers = at_once(
                sockets,
                lambda: by_refresh_token(first) | proof(scene, client),  # noqa: B023 - called at once
            )
            statuses["refresh tokens"].update(status for status, _ in answers)
            good = [body for status, body in answers if status == 200]
            successors[len({body["refresh_token"] for body in good})] += 1
            assert {line.verify(body["access_token"]) for body in good} == {"valid"}
            advanced[number_of(scene, first) - 1] += 1
    nodes = len(scene.nodes)
    print(
        f"{TOKENS} codes and {TOKENS} refresh tokens, {AT_ONCE} at once, {nodes} nodes:"
        f" { ({name: dict(found) for name, found in statuses.items()}) }; winners {dict(winners)},"
        f" successors {dict(successors)}, generations {dict(advanced)}"
    )
    assert winners == {1: TOKENS}
    assert successors == advanced == {1: TOKENS}
    # The later requests are within the grace period.
    assert statuses["refresh tokens"] == {200: AT_ONCE * TOKENS}
    assert statuses["codes"] == {200: TOKENS, 400: (AT_ONCE - 1) * TOKENS}
    database = request.node.callspec.params["scene"]
    FIGURES.update(
        {
            f"codes, {database}": TOKENS,
            f"refresh tokens, {database}": TOKENS,
            f"requests, {database}": 2 * AT_ONCE * TOKENS,
            f"winners of codes, {database}": statuses["codes"][200],
            f"live tokens of codes afterwards, {database}": 0,
            f"successors of refresh tokens, {database}": TOKENS,
            f"live families afterwards, {database}": TOKENS,
            f"nodes of two processes, {database}": nodes,
            f"answers in the 500s, {database}": 0,
        }
    )


@pytest.fixture(scope="module", autouse=True)
def written() -> Iterator[None]:
    yield
    if PROVE:
        prove("P8-codes", "a code and a refresh token are used once", SEED, FIGURES)
