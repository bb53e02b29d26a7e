"""The cast of the tests: Alice owns, Bob is a member, Charlie is a stranger, Robo is a service account.

The module also builds what they run on: a store whose clock and random bytes the test controls.
"""

import asyncio
import itertools
import json
import random
from collections.abc import Coroutine, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ostiary.config import Settings
from ostiary.core import key_file
from ostiary.core.event import Actor
from ostiary.core.installation import Installation
from ostiary.core.instant import MINUTE, SECOND, Instant
from ostiary.core.jws import Algorithm
from ostiary.core.key_file import KeyAlgorithm
from ostiary.core.keyring import derive
from ostiary.core.model import Organization, RoleBinding
from ostiary.core.permission import FIRST_CATALOGUE, Caller, Catalogue, Policy
from ostiary.core.signing import PURPOSES, KeySet, SigningKeyPair, algorithm_for, generate
from ostiary.http import cookies
from ostiary.node.app import build
from ostiary.node.installation import OpenInstallation
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
from ostiary.services import (
    credentials,
    installation,
    members,
    organizations,
    service_accounts,
    sessions,
    signing_keys,
)
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.credentials import Created
from ostiary.services.execute import execute
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec, AccountView
from ostiary.services.sessions import NewSession
from ostiary.storage import migrations, retention
from ostiary.storage import signing_keys as signing_key_rows
from ostiary.storage.engines import Engines
from ostiary.storage.fact_cache import ChangeNumber
from ostiary.storage.journal import UsedMark
from ostiary.storage.store import Store

NOON: Instant = 1_795_000_000 * SECOND
"""The time at which tests begin: a day in November 2026."""
MASTER_KEY = bytes(range(32))
SEED = 20_261_122


@dataclass(slots=True)
class Clock:
    """A clock that stands still until the test moves it. `monotonic` returns seconds."""

    now: Instant = NOON

    def __call__(self) -> Instant:
        return self.now

    def monotonic(self) -> float:
        return self.now / SECOND

    def advance(self, length: int) -> None:
        """Advance the clock by a length in microseconds."""
        self.now += length


@dataclass(slots=True)
class Entropy:
    """Random bytes from a fixed seed."""

    seed: int = SEED
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, length: int) -> bytes:
        return self._random.randbytes(length)


@dataclass(slots=True)
class House:
    """An initialized installation. The cast are callers of its services."""

    store: Store
    clock: Clock
    number: ChangeNumber
    acme: Organization
    """The operator's organization. Alice owns it, Bob is a member."""
    umbrella: Organization
    """A customer's organization. Charlie owns it."""
    alice: Caller
    bob: Caller
    charlie: Caller
    alice_key: str
    charlie_key: str

    def account(
        self, name: str = "Robo", roles: tuple[str, ...] = ("developer",), **spec: Any
    ) -> AccountView:
        """Create a service account in Acme, as Alice."""
        return self.store.write(
            service_accounts.create,
            self.alice,
            AccountSpec(display_name=name, roles=tuple(RoleSpec(role) for role in roles), **spec),
        )

    def key(self, account: AccountView, **spec: Any) -> Created:
        """Create an API key for an account of Acme."""
        return self.store.write(credentials.create, self.alice, account.account.id, CredentialSpec(**spec))

    def key_file(self, account: AccountView, algorithm: KeyAlgorithm = "EdDSA", **spec: Any) -> Created:
        """Create a key file for an account of Acme."""
        return self.key(account, kind="key_file", key_pair=key_file.generate(algorithm), **spec)

    def holder(self, created: Created) -> Caller:
        """Return the caller that presents this credential of Acme, as `sessions.begin` receives it."""
        credential = created.listed.credential
        return Caller(
            Actor(credential.owner_kind, credential.owner_id, "", credential.id),
            self.acme.id,
            frozenset(),
            access_id=credential.access_id,
            expires_at=credential.expires_at,
        )

    def session(self, created: Created, project: str | None = None) -> NewSession:
        """Begin a session with this credential of Acme."""
        used = UsedMark(self.store.entropy(32), self.clock() + MINUTE)
        return execute(self.store, self.holder(created), sessions.begin, used, project)

    def sign(self, algorithm: Algorithm = "ES256") -> KeySet:
        """Create a signing key for each purpose, as `serve` does when it starts. Returns every key."""
        algorithms = {purpose: algorithm_for(purpose, algorithm) for purpose in PURPOSES}
        made = {purpose: pair(algorithms[purpose], purpose) for purpose in PURPOSES}
        self.store.write(signing_keys.ensure, self.alice, made)
        return self.store.read(signing_key_rows.key_set)

    def delete_old(self) -> None:
        """Delete expired rows by the clock of the house, as the periodic tasks do."""
        for rule in retention.RULES:
            while self.store.write_on((), retention.delete_some, rule, self.clock()) == retention.AT_ONCE:
                pass

    def with_policy(self, **policy: Any) -> "House":
        """Return the same house under another policy."""
        installed = replace(self.store.installation, policy=Policy(**policy))
        return replace(self, store=replace(self.store, installation=installed))

    def copied(self, engines: Engines, data: Path) -> "House":
        """Return the same house on a copy of its database."""
        clock = Clock(self.clock())
        number = ChangeNumber(data / "changes.number")
        entropy = deepcopy(self.store.entropy)
        store = Store(engines, self.store.installation, clock, entropy, number.renew)
        return replace(self, store=store, clock=clock, number=number)

    def close(self) -> None:
        self.store.engines.dispose()
        self.number.close()


@cache
def pair(algorithm: Algorithm, number: int | str = 0) -> SigningKeyPair:
    """Return a key pair, cached by number, because RSA keys take long to generate."""
    return generate(algorithm)


def caller(
    organization: Organization, user_id: str, display: str, role: str, credential_id: str | None = None
) -> Caller:
    """Return a user with a built-in role in an organization, as services receive it."""
    return Caller(
        Actor("user", user_id, f"{display} (API key)", credential_id),
        organization.id,
        Catalogue(frozenset(FIRST_CATALOGUE)).role(role),
        organization.operator,
        operator_admin=organization.operator and role == "organization-admin",
    )


def move_in(engines: Engines, data: Path, clock: Clock | None = None) -> House:
    """Initialize an empty, migrated database and create the cast in it."""
    clock = clock or Clock()
    number = ChangeNumber(data / "changes.number")
    store = Store(engines, Installation(derive([MASTER_KEY])), clock, Entropy(), number.renew)
    begun = store.write_on((), installation.begin, SYSTEM_CALLER, "Acme", "alice@acme.test", "hash")
    alice = caller(begun.organization, begun.user_id, "alice@acme.test", "organization-admin", begun.key_id)
    bob_id = store.write(
        members.insert, alice, begun.organization.id, "bob@acme.test", None, [RoleBinding("viewer", None)]
    )
    umbrella = store.write_on((), organizations.insert, SYSTEM_CALLER, "Umbrella", "umbrella", operator=False)
    charlie_id = store.write_on(
        (),
        members.insert,
        SYSTEM_CALLER,
        umbrella.id,
        "charlie@umbrella.test",
        None,
        [members.ADMIN],
    )
    charlie = caller(umbrella, charlie_id, "charlie@umbrella.test", "organization-admin")
    charlie_key = store.write(credentials.create_direct, charlie, CredentialSpec(name="Charlie's"))
    return House(
        store,
        clock,
        number,
        begun.organization,
        umbrella,
        alice,
        caller(begun.organization, bob_id, "bob@acme.test", "viewer"),
        charlie,
        begun.key.reveal(),
        charlie_key.secret.reveal(),
    )


def migrated(engines: Engines) -> Engines:
    migrations.upgrade(engines)
    return engines


# The application in this process. The test controls the clock and the peer's address.


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()
    """The same as `headers`, but with repeated header fields."""

    def json(self) -> Any:
        return json.loads(self.body)


_fronts = itertools.count()


class Front:
    """The whole ASGI application without a socket. Periodic tasks do not run: call `write_counts` instead."""

    def __init__(self, house: House, data: Path, **settings: Any) -> None:
        self.house = house
        # In memory: each front starts with empty rate limits.
        self._permits = [
            MappedRateLimitStore(
                data / f"{name}.{next(_fronts)}", house.store.installation.keyring.permits, 1024
            )
            for name in ("uses", "failures")
        ]
        configured = Settings.model_validate({"data": data, **settings})
        opened = OpenInstallation(configured, house.store, house.number, self._permits[0], self._permits[1])
        self.door, self.rounds, self.facts, self.metrics, self.journal = build(opened, house.clock.monotonic)
        self.journal.start()
        self._runner = asyncio.Runner()
        self._numbers = itertools.count()

    def close(self) -> None:
        self.journal.stop()
        self._runner.close()
        for permits in self._permits:
            permits.close()

    @property
    def cookie_name(self) -> str:
        """The name of the session cookie."""
        return cookies.of(self.house.store.installation.issuer).name.decode()

    def write_counts(self) -> None:
        self.rounds.do("write counts")

    def ask(self, method: str, target: str, *args: Any, **more: Any) -> Answer:
        """Send one request. See `request`."""
        return self._runner.run(self.request(method, target, *args, **more))

    def ask_at_once(self, requests: list[Coroutine[Any, Any, Answer]]) -> list[Answer]:
        """Send several requests concurrently."""

        async def together() -> list[Answer]:
            return list(await asyncio.gather(*requests))

        return self._runner.run(together())

    def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        key: str | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        peer: str = "192.0.2.1",
        raw: bytes | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Build one request without sending it. `body` is sent as JSON, `raw` unchanged."""
        fields = list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())
        if not any(name == "host" for name, _ in fields):
            fields.insert(0, ("host", "localhost:8080"))
        if key is not None:
            fields.append(("x-api-key", key))
        content = b""
        if raw is not None:
            content = raw
        elif body is not None:
            content = json.dumps(body).encode()
        if (raw is not None or body is not None) and not any(n.lower() == "content-type" for n, _ in fields):
            fields.append(("content-type", "application/json"))
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in fields],
            "client": (peer, 40000),
            "server": ("localhost", 8080),
        }
        return self._send(scope, content)

    async def _send(self, scope: dict[str, Any], content: bytes) -> Answer:
        sent = False
        status, headers, parts = 0, [], []

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await asyncio.Event().wait()
            sent = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
            else:
                parts.append(message.get("body", b""))

        await self.door(scope, receive, send)
        fields = tuple((n.decode(), v.decode("latin-1")) for n, v in headers)
        return Answer(status, dict(fields), b"".join(parts), fields)

    def verify(self, credential: str, key: str | None = None, **question: Any) -> dict[str, Any]:
        """Return the response of `/v1/verify`, called with Alice's key."""
        answer = self.ask(
            "POST", "/v1/verify", {"credential": credential, **question}, key=key or self.house.alice_key
        )
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json()
        return found
