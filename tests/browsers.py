"""A browser in which somebody has signed in, as rows and a cookie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlencode

from ostiary.core import secret
from ostiary.core.instant import DAY
from ostiary.core.permission import Caller
from ostiary.core.secret import Secret
from ostiary.storage import sessions
from ostiary.storage.sessions import Proof, Session
from ostiary.storage.store import Store, Tx
from tests.cast import Answer, Front
from tests.servers import PATIENCE

FORM = "application/x-www-form-urlencoded"
COOKIE = "ostiary_session"
_TOKEN = re.compile(rb'name="form_token" value="([^"]*)"')


def signed_in(store: Store, person: Caller) -> str:
    """The secret of a new browser session of this person's."""

    def insert(tx: Tx, caller: Caller) -> Secret:
        minted = secret.mint(secret.SESSION, tx.entropy(secret.MINT_ENTROPY))
        keyring = tx.installation.keyring
        session = Session(
            id=tx.new_id("ses"),
            organization_id=caller.organization_id,
            kind="browser",
            owner_kind="user",
            owner_id=str(caller.actor.id),
            credential_id=None,
            project_id=None,
            address=None,
            user_agent="",
            created_at=tx.now,
            expires_at=tx.now + DAY,
            revoked_at=None,
            begun_at=tx.now,
            authenticated_at=tx.now,
        )
        digest = secret.digest(minted.secret.reveal().encode(), keyring.peppers[keyring.newest])
        sessions.insert(tx, session, Proof(minted.access_id, digest, keyring.newest))
        tx.confirm()
        return minted.secret

    return store.write(insert, person).reveal()


@dataclass(slots=True)
class Browser:
    """Somebody's browser; of nobody, without a session."""

    front: Front | Wire
    session: str | None = None
    peer: str = "192.0.2.1"

    def get(self, target: str) -> Answer:
        return self.front.ask("GET", target, headers=self._fields({}), peer=self.peer)

    def post(self, target: str, fields: Mapping[str, str], token: str | None = None) -> Answer:
        """Send a form as a page of ours does, or with another token than its own."""
        if token is None:
            token = self.token(target)
        port = self.front.url.rpartition(":")[2] if isinstance(self.front, Wire) else "8080"
        headers = self._fields({"content-type": FORM, "origin": f"http://localhost:{port}"})
        body = urlencode({**fields, "form_token": token}).encode()
        return self.front.ask("POST", target, raw=body, headers=headers, peer=self.peer)

    def token(self, target: str) -> str:
        """That of the form at this address."""
        found = _TOKEN.search(self.get(target).body)
        assert found is not None
        return found[1].decode()

    def _fields(self, more: Mapping[str, str]) -> dict[str, str]:
        return dict(more) if self.session is None else {"cookie": f"{COOKIE}={self.session}", **more}


@dataclass(frozen=True, slots=True)
class Wire:
    """A real service over its socket, asked as `Front` is."""

    url: str

    def ask(
        self,
        method: str,
        target: str,
        raw: bytes = b"",
        headers: Mapping[str, str] | None = None,
        peer: str = "",
    ) -> Answer:
        connection = HTTPConnection(self.url.partition("://")[2], timeout=PATIENCE)
        try:
            connection.request(method, target, raw, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


def browser(front: Front, person: Caller | None, peer: str = "192.0.2.1") -> Browser:
    session = None if person is None else signed_in(front.house.store, person)
    return Browser(front, session, peer)
