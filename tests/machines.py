"""A machine client of OAuth: Robo with one credential of each kind, and the requests that it sends.

The module does not assert anything about responses.
"""

import base64
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ostiary.core import jws, key_file, secret
from ostiary.core.assertion import AssertionUse
from ostiary.core.instant import HOUR, SECOND
from ostiary.core.jws import PrivateKey
from ostiary.core.permission import Caller
from ostiary.core.secret import Secret
from ostiary.services import credentials, service_accounts
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec, AccountView
from ostiary.storage import access_rules, sessions
from ostiary.storage.sessions import Proof, Session
from ostiary.storage.store import Tx
from tests.cast import Answer, Front, House
from tests.mutants import GONE, good

TOKEN = "/oauth/token"
ALIAS_TOKEN = "/oauth2/ostiary/v1/token"
INTROSPECT = "/oauth/introspect"
REVOKE = "/oauth/token/revoke"
ISSUER = "http://localhost:8080"
RESOURCE = "https://api.test/v1"
"""Another service, named by an access rule (see `name_resource`)."""
CLIENT_CREDENTIALS = "client_credentials"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
BY_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
FORM = "application/x-www-form-urlencoded"

Fields = Mapping[str, str] | Iterable[tuple[str, str]]
_numbers = itertools.count()


def basic(name: str, word: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()


def post(
    front: Front,
    path: str,
    form: Fields | bytes,
    *,
    client: tuple[str, str] | None = None,
    bearer: str | None = None,
    peer: str = "192.0.2.1",
    **fields: str,
) -> Answer:
    """Send a form, or raw bytes with the content type of a form."""
    headers = {"content-type": FORM} | {name.replace("_", "-"): value for name, value in fields.items()}
    if client is not None:
        headers["authorization"] = basic(*client)
    if bearer is not None:
        headers["authorization"] = f"Bearer {bearer}"
    pairs = list(form.items()) if isinstance(form, Mapping) else form
    body = pairs if isinstance(pairs, bytes) else urlencode(list(pairs)).encode()
    return front.ask("POST", path, raw=body, headers=headers, peer=peer)


@dataclass(frozen=True, slots=True)
class Machine:
    """An account with an API key, a client secret and a key file."""

    front: Front
    view: AccountView
    key: Created
    word: Created
    file: Created

    @property
    def client_id(self) -> str:
        return self.view.account.client_id

    @property
    def client(self) -> tuple[str, str]:
        """Return the value of `Authorization: Basic`."""
        return self.client_id, self.word.secret.reveal()

    @property
    def api_key(self) -> str:
        return self.key.secret.reveal()

    @property
    def key_id(self) -> str:
        return self.file.listed.credential.access_id

    @property
    def private(self) -> PrivateKey:
        return jws.private_key("EdDSA", self.file.secret.reveal().encode())

    def header(self, **changed: Any) -> dict[str, Any]:
        members = {"alg": "EdDSA", "typ": "JWT", "kid": self.key_id, **changed}
        return {name: value for name, value in members.items() if value is not GONE}

    def claims(self, use: AssertionUse, issuer: str = ISSUER, **changed: Any) -> dict[str, Any]:
        """Return valid claims for this use, with changes. The `jti` is new."""
        now = self.front.house.clock.now // SECOND
        name = self.client_id if use == "client" else self.view.channel_identifier
        members = {
            "iss": name,
            "sub": name,
            "aud": f"{issuer}{TOKEN}",
            "iat": now,
            "exp": now + 60,
            "jti": f"jti-{next(_numbers)}",
            **changed,
        }
        return {name: value for name, value in members.items() if value is not GONE}

    def assertion(self, use: AssertionUse, **changed: Any) -> str:
        return good(self.private, self.claims(use, **changed), self.header())

    # Requests to the token endpoint

    def by_secret(self, path: str = TOKEN, **form: str) -> Answer:
        return post(self.front, path, {"grant_type": CLIENT_CREDENTIALS, **form}, client=self.client)

    def by_grant(self, text: str | None = None, **form: str) -> Answer:
        asked = {"grant_type": JWT_BEARER, "assertion": text or self.assertion("grant"), **form}
        return post(self.front, TOKEN, asked)

    def by_key(self, text: str | None = None, path: str = TOKEN, **form: str) -> Answer:
        """Authenticate by private_key_jwt."""
        asked = {
            "grant_type": CLIENT_CREDENTIALS,
            "client_assertion_type": BY_ASSERTION,
            "client_assertion": text or self.assertion("client"),
            **form,
        }
        return post(self.front, path, asked)

    def exchange(self, text: str, **form: str) -> Answer:
        return exchange(self.front, text, **form)


def exchange(front: Front, text: str, peer: str = "192.0.2.1", **form: str) -> Answer:
    """Exchange a key or token (RFC 8693)."""
    return post(
        front,
        TOKEN,
        {"grant_type": EXCHANGE, "subject_token": text, "subject_token_type": ACCESS_TOKEN, **form},
        peer=peer,
    )


def machine(
    front: Front,
    name: str = "Robo",
    owner: Caller | None = None,
    roles: tuple[str, ...] = ("developer",),
    **account: Any,
) -> Machine:
    """Create an account with its three credentials: in Acme by Alice, or in the organization of `owner`."""
    store, owner = front.house.store, owner or front.house.alice
    spec = AccountSpec(display_name=name, roles=tuple(RoleSpec(role) for role in roles), **account)
    view = store.write(service_accounts.create, owner, spec)

    def made(**members: Any) -> Created:
        return store.write(credentials.create, owner, view.account.id, CredentialSpec(**members))

    file = made(kind="key_file", algorithm="EdDSA", key_pair=key_file.generate("EdDSA"))
    return Machine(front, view, made(), made(kind="client_secret"), file)


def token_of(answer: Answer) -> str:
    """Return the access token of a response, which must be a success."""
    assert answer.status == 200, answer.body
    return str(answer.json()["access_token"])


def said(answer: Answer) -> str:
    """Return the status and error code of a response: `400 invalid_request`."""
    return f"{answer.status} {answer.json().get('error')}"


def name_resource(house: House, audience: str = RESOURCE, name: str = "elsewhere") -> None:
    """Register another service, so that clients can request tokens for it."""

    def put(tx: Tx, _: Caller) -> None:
        rule = {"match": [{"methods": ["GET"], "path": "/**", "scopes": ["read:agents"]}]}
        access_rules.put(tx, name, rule | {"audience": audience})
        tx.changed("installation", "access_rules")
        tx.confirm()

    house.store.write(put, house.alice)


def session_of(house: House, created: Created, length: int = HOUR) -> str:
    """Begin a session with this credential and return its secret."""

    def insert(tx: Tx, _: Caller) -> Secret:
        minted = secret.create(secret.SESSION, tx.entropy(secret.SECRET_ENTROPY))
        credential = created.listed.credential
        keyring = tx.installation.keyring
        session = Session(
            tx.new_id("ses"),
            credential.organization_id,
            "key_file",
            credential.owner_kind,
            credential.owner_id,
            credential.id,
            None,
            None,
            "",
            tx.now,
            tx.now + length,
            None,
            begun_at=tx.now,
        )
        digest = secret.digest(minted.secret.reveal().encode(), keyring.peppers[keyring.newest])
        sessions.insert(tx, session, Proof(minted.access_id, digest, keyring.newest))
        tx.confirm()
        return minted.secret

    return house.store.write(insert, house.alice).reveal()
