"""The SDK of the Model Context Protocol: its client, before a server that it knows nothing of and that asks us."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from tests import servers
from tests.clients.people import CALLBACK, REDIRECT, Alice, alice_at, returned
from tests.far_side import answer, authority, far_side
from tests.servers import PATIENCE, Ostiary

pytestmark = pytest.mark.full


@dataclass
class Tools:
    """An MCP server's front door: it admits tokens that are meant for it, and says whom to ask for one."""

    ostiary: Ostiary
    issuer: str
    url: str = ""
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    """What was said of the tokens that came, in turn."""

    def admitted(self, token: str) -> bool:
        asked = {"credential": token, "audience": self.url, "scopes": ["read:agents"]}
        self.verdicts.append(self.ostiary.call("POST", "/v1/verify", asked).json())
        return bool(self.verdicts[-1]["valid"])


@contextmanager
def tools(ostiary: Ostiary, issuer: str) -> Iterator[Tools]:
    """The server, known to the service as a resource."""
    found = Tools(ostiary, issuer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            metadata = "/.well-known/oauth-protected-resource/mcp"
            if self.path == metadata:
                told = {"resource": found.url, "authorization_servers": [found.issuer]}
                self._send(200, told | {"scopes_supported": ["read:agents"]})
                return
            scheme, _, token = self.headers.get("authorization", "").partition(" ")
            if scheme == "Bearer" and found.admitted(token):
                self._send(200, {"tools": []})
                return
            origin = found.url.removesuffix("/mcp")
            self._send(401, {}, f'Bearer resource_metadata="{origin}{metadata}"')

        def _send(self, status: int, body: dict[str, Any], challenge: str = "") -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            if challenge:
                self.send_header("www-authenticate", challenge)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
        rule = {"match": [{"path": "/**"}], "audience": found.url}
        made = ostiary.call("PUT", f"/v1/access-rules/tools-{server.server_address[1]}", rule)
        assert made.status_code in (200, 201), made.text
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@dataclass
class Kept:
    """What a client keeps between its starts."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def client(alice: Alice, url: str, kept: Kept, document: str | None = None) -> OAuthClientProvider:
    """The SDK's client, whose browser is Alice's."""
    back: list[str] = []

    async def visit(address: str) -> None:
        back.append(await asyncio.to_thread(alice.allows, address))

    async def come_back() -> AuthorizationCodeResult:
        given = returned(back.pop())
        return AuthorizationCodeResult(code=given.get("code", ""), state=given["state"], iss=given["iss"])

    metadata = OAuthClientMetadata(client_name="Workbench", redirect_uris=[AnyUrl(CALLBACK)])
    return OAuthClientProvider(url, metadata, kept, visit, come_back, document)


async def _status(provider: OAuthClientProvider, url: str) -> int:
    async with httpx2.AsyncClient(auth=provider, timeout=PATIENCE) as http:
        return (await http.get(url)).status_code


def status(provider: OAuthClientProvider, url: str) -> int:
    return asyncio.run(_status(provider, url))


def walk(alice: Alice, found: Tools, document: str | None = None) -> Kept:
    """The whole way of a client, from a first answer of 401."""
    kept = Kept()
    provider = client(alice, found.url, kept, document)
    assert status(provider, found.url) == 200
    first = kept.tokens
    assert first is not None
    assert first.refresh_token is not None
    # Of the token that it got, it is the resource that was named: our own API refuses it.
    assert alice.capable(first.access_token) is None
    asked = found.verdicts[-1]
    assert (asked["valid"], asked["principal"]["id"]) == (True, alice.service.first["admin"]["id"])

    provider.context.token_expiry_time = 1
    assert status(provider, found.url) == 200
    second = kept.tokens
    assert second is not None
    assert second.refresh_token is not None
    assert second.refresh_token != first.refresh_token
    assert len(found.verdicts) == 2, "it was refreshed, and nobody was asked again"

    assert kept.client is not None
    told = httpx2.post(
        alice.metadata()["revocation_endpoint"],
        data={"token": second.refresh_token, "client_id": kept.client.client_id},
    )
    assert told.status_code == 200, told.text
    assert not found.admitted(second.access_token)
    return kept


def test_a_client_that_was_never_here_gets_to_its_tools(alice: Alice) -> None:
    """RFC 9728, RFC 7591, RFC 8707 break: an MCP client cannot register, get a token for its server, or keep access."""
    with tools(alice.service, alice.issuer) as found:
        kept = walk(alice, found)
        assert kept.client is not None
        assert kept.client.client_id.startswith("app_")


def test_what_was_ended_is_asked_for_again(alice: Alice) -> None:
    """RFC 6749 §5.2 breaks: a client whose session was ended does not find back to the person."""
    with tools(alice.service, alice.issuer) as found:
        kept = walk(alice, found)
        before = kept.tokens
        assert status(client(alice, found.url, kept), found.url) == 200
        assert kept.tokens != before


def test_a_resource_that_nobody_knows_is_refused(alice: Alice) -> None:
    """RFC 8707 §2 breaks: a client gets a token for a server that no rule names."""
    with tools(alice.service, alice.issuer) as found:
        found.url = found.url.replace("127.0.0.1", "localhost")
        with pytest.raises(OAuthFlowError, match="No authorization code received"):
            status(client(alice, found.url, Kept()), found.url)
        assert not found.verdicts


def test_a_document_says_who_a_client_is(tmp_path: Path) -> None:
    """The client-id metadata document breaks: an MCP client that is one cannot get to its tools without registering."""
    vouching = authority(tmp_path)
    with far_side(vouching.context(tmp_path, "localhost")) as site:
        address = f"https://localhost:{site.port}/workbench.json"
        document = {
            "client_id": address,
            "client_name": "Workbench",
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        }
        site.answer = answer(json.dumps(document).encode())
        with (
            servers.ostiary(
                tmp_path / "data",
                OSTIARY_OUTBOUND_HOSTS=f"localhost:{site.port}",
                SSL_CERT_FILE=str(vouching.file),
            ) as service,
            tools(service, f"http://localhost:{service.port}") as found,
        ):
            kept = walk(alice_at(service), found, address)
            assert kept.client is not None
            assert kept.client.client_id == address
        assert site.requests
