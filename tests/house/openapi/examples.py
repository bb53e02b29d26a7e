"""The examples of the OpenAPI document. Each request is sent to the application, and the response is recorded.

Every operation gets a copy of the same house, so examples do not depend on each other. The clock and the random bytes
are fixed, so the output is the same each time.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ostiary.core.instant import DAY, HOUR, MINUTE
from ostiary.core.key_file import KeyPair
from ostiary.core.secret import Secret, looks_like_secret
from ostiary.services import (
    access_rules,
    clients,
    consents,
    credentials,
    imports,
    members,
    projects,
    roles,
    rotation,
)
from ostiary.services.clients import ClientSpec
from ostiary.services.roles import RoleSpec
from ostiary.storage import engines
from ostiary.storage.fact_cache import ChangeNumber
from ostiary.storage.store import Store
from tests import signers
from tests.cast import Answer, Clock, Entropy, Front, House, migrated, move_in

RULE: Final = {"match": [{"methods": ["GET"], "path": "/v1/agents/{id}", "scopes": ["read:agents"]}]}
PROXY: Final = "127.0.0.1"
QUERIES: Final = {"get_usage": "?since=2026-11-18T12:00:00Z"}
SECRETS: Final = ("secret", "token", "access_token")
RANDOM: Final = ("n", "x", "y")
"""Members of a public key that differ in each run."""
EXAMPLE: Final = re.compile(r"https://[a-z]+\.acme\.example/")
"""URLs of example hosts in a request."""
LISTED: Final = 2
"""The number of rows in the example of a paged list."""


@dataclass(frozen=True, slots=True)
class Example:
    """A request and its response, with shortened secrets."""

    body: Any
    answer: Any
    status: int
    headers: frozenset[str]
    takes_if_match: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation to call. `path` is its template, `paged` is whether it returns a list in pages."""

    id: str
    method: str
    path: str
    body: Any
    status: int
    paged: bool
    headers: dict[str, str]


class Studio:
    """Builds the house once, and a copy of it for each example."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._database = directory / "first.db"
        database = migrated(engines.connect(engines.sqlite_url(self._database)))
        self._house = move_in(database, directory)
        self.names = _furnish(self._house)
        database.dispose()
        self.alice_key = self._house.alice_key
        with self.house("token") as front:
            body = {name: self.names[name] for name in ("client_id", "client_secret")}
            answer = front.ask("POST", "/oauth/token", {"grant_type": "client_credentials", **body})
        self.names["token"] = answer.json()["access_token"]

    @contextmanager
    def house(self, seed: str) -> Iterator[Front]:
        """Return a copy of the house, an hour later, with its own random bytes."""
        path = self._directory / f"{seed}.db"
        shutil.copy(self._database, path)
        database = engines.connect(engines.sqlite_url(path))
        number = ChangeNumber(self._directory / f"{seed}.number")
        clock = Clock(self._house.clock.now + HOUR)
        entropy = Entropy(int.from_bytes(seed.encode()))
        store = Store(database, self._house.store.installation, clock, entropy, number.renew)
        front = Front(
            replace(self._house, store=store, clock=clock, number=number),
            self._directory,
            trusted_proxies=PROXY,
        )
        try:
            yield front
        finally:
            front.close()
            database.dispose()
            number.close()
            path.unlink()

    def take(self, asked: Asked) -> Example:
        """Call an operation with Alice's key. Raises AssertionError if the response is not as documented."""
        body = self.fill(asked.body)
        query = f"?limit={LISTED}" if asked.paged else QUERIES.get(asked.id, "")
        target = asked.path.format(**self.names) + query
        with self.house(asked.id) as front:
            PREPARE.get(asked.id, nothing)(front, self.names)

            def ask(**headers: str) -> Answer:
                return front.ask(
                    asked.method.upper(),
                    target,
                    body,
                    key=front.house.alice_key,
                    headers={"user-agent": "curl/8.14.1", **asked.headers, **headers},
                    peer=PROXY,
                )

            answer = ask() if asked.method == "get" else ask(**{"if-match": '"stale"'})
            takes_if_match = answer.status == 412
            if takes_if_match:
                answer = ask()
        assert answer.status == asked.status, (asked.id, answer.status, answer.body)
        return Example(
            _shortened(body),
            _shortened(answer.json()) if answer.body else None,
            answer.status,
            frozenset(answer.headers),
            takes_if_match,
        )

    def send(
        self, name: str, method: str, path: str, body: Any, headers: dict[str, str], media_type: str
    ) -> tuple[Any, Any]:
        """Call an endpoint that accepts several media types. Returns request and response, with shortened secrets."""
        filled = self.fill(body)
        fields = {"user-agent": "curl/8.14.1", **headers}
        raw = None
        if filled is not None:
            fields["content-type"] = media_type
            raw = (json.dumps(filled) if media_type == "application/json" else urlencode(filled)).encode()
        with self.house(name) as front:
            answer = front.ask(method, path, raw=raw, headers=fields, peer=PROXY)
        assert answer.status in (200, 201), (name, media_type, answer.status, answer.body)
        return _shortened(filled), _shortened(answer.json()) if answer.body else None

    def fill(self, body: Any) -> Any:
        """Replace the placeholders of an example by ids of the house."""
        return json.loads(Template(json.dumps(body)).substitute(self.names))


def _shortened(value: Any, name: str = "") -> Any:
    """Shorten secrets, so that nobody mistakes one for a real key and no scanner reports a leak."""
    if isinstance(value, dict):
        return {inner: _shortened(each, inner) for inner, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    if not isinstance(value, str):
        return value
    if value.startswith("http") and looks_like_secret(value):
        return re.sub("^https?://[^/]+([^=]+=).*", r"…\1…", value)
    if name in SECRETS or looks_like_secret(value):
        return f"{value[:11]}…"
    if name in RANDOM:
        return "…"
    return value if EXAMPLE.match(value) else re.sub("^https?://[^/]+", "…", value)


@contextmanager
def studio() -> Iterator[Studio]:
    with tempfile.TemporaryDirectory() as directory:
        yield Studio(Path(directory))


def _furnish(house: House) -> dict[str, str]:
    """Create one resource of each kind. Returns ids by the names that path templates and examples use."""
    bot = house.account("CI bot", description="Builds and ships", contact_email="ops@acme.example")
    key = house.key(bot, name="nightly build", scopes=("read:agents",), resources=("agents/*",))
    project = house.store.write(projects.create, house.alice, "Shop", None, "What customers buy from")
    role = house.store.write(roles.create_role, house.alice, "reader", "Looks only", ("read:agents",))
    invited = house.store.write(members.invite, house.alice, "erin@acme.example", [RoleSpec("viewer")])
    house.store.write(access_rules.put_rule, house.alice, "agents", RULE)
    house.store.write(imports.register_prefix, house.alice, "sk_live_")
    file = house.key(bot, kind="key_file", name="partner login", key_pair=_pair())
    session = house.session(file, "shop")
    spec = ClientSpec(
        "Delivery tracker",
        ("https://tracker.acme.example/callback",),
        scopes=("read:agents", "offline_access"),
    )
    app = house.store.write(clients.create, house.alice, spec)
    asked = consents.ConsentRequest(app, house.acme.id, ("read:agents",), (project.id,))
    given = house.store.write(consents.give, house.alice, asked)
    house.clock.advance(HOUR)
    login = signers.login(
        file.secret.reveal(), file.listed.credential.access_id, house.clock.now + HOUR, jti="1"
    )
    client = house.key(bot, kind="client_secret", name="deployment")
    house.sign()
    assert house.bob.actor.id is not None
    assert role.id is not None
    return {
        "organization_id": house.acme.id,
        "project": project.id,
        "member": house.bob.actor.id,
        "invitation": invited.invitation.id,
        "role": role.id,
        "scope": "write:plugins",
        "account": bot.account.id,
        "credential": key.listed.credential.id,
        "secret": key.secret.reveal(),
        "session": session.listed.session.id,
        "client": app.id,
        "grant": given.consent.id,
        "login": login,
        "client_id": bot.account.client_id,
        "client_secret": client.secret.reveal(),
        "prefix": "sk_live_",
        "name": "agents",
        "rule": "agents",
        "path": "v1/agents/agent_1",
    }


def _pair() -> KeyPair:
    """Return a key for a key file that is the same in every document."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(Secret(pem.decode()), public)


def nothing(_front: Front, _names: dict[str, str]) -> None:
    pass


def _revoke_long_ago(front: Front, names: dict[str, str]) -> None:
    house = front.house
    house.store.write(credentials.revoke, house.alice, names["credential"])
    house.clock.advance(2 * DAY)


def _deactivate(front: Front, names: dict[str, str]) -> None:
    front.house.store.write(credentials.deactivate, front.house.alice, names["credential"])


def _rotate(front: Front, names: dict[str, str]) -> None:
    house = front.house
    house.store.write(rotation.rotate, house.alice, names["credential"], DAY, None)
    house.clock.advance(HOUR)


def _act(front: Front, names: dict[str, str]) -> None:
    agent = {"user-agent": "curl/8.14.1"}
    for address in (
        f"credentials/{names['credential']}/revoke",
        f"service-accounts/{names['account']}/disable",
    ):
        front.house.clock.advance(MINUTE)
        done = front.ask(
            "POST", f"/v1/{address}", key=front.house.alice_key, headers=agent, peer="203.0.113.7"
        )
        assert done.status == 200


def _use(front: Front, names: dict[str, str]) -> None:
    for _ in range(3):
        assert front.ask("GET", "/v1/capabilities", key=names["secret"]).status == 200
    front.house.clock.advance(HOUR)
    _deactivate(front, names)
    assert front.ask("GET", "/v1/authorize/-", key=names["secret"]).status == 401
    front.write_counts()


PREPARE: Final[dict[str, Callable[[Front, dict[str, str]], None]]] = {
    # Preparations that an operation needs to succeed, or to return something.
    "activate_credential": _deactivate,
    "delete_credential": _revoke_long_ago,
    "end_rotation": _rotate,
    "get_rotation": _rotate,
    "list_audit_events": _act,
    "get_usage": _use,
}
