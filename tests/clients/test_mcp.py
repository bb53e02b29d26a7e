"""The SDK of the Model Context Protocol: its client discovers the service from an MCP server that it protects."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.auth.extensions.client_credentials import PrivateKeyJWTOAuthProvider, SignedJWTParameters
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from tests import javascript, servers
from tests.clients.conftest import Robo
from tests.clients.people import CALLBACK, REDIRECT, Alice, alice_at, returned
from tests.conftest import unavailable
from tests.far_side import answer, authority, far_side
from tests.servers import PATIENCE, Ostiary, UnavailableError

pytestmark = pytest.mark.full

HERE = Path(__file__).parent


def packages() -> Path:
    """The directory of the Node packages."""
    try:
        home = javascript.installed(HERE / "package.json")
    except UnavailableError as error:
        unavailable(error)
    return home


@dataclass
class Tools:
    """The authentication layer of an MCP server: it accepts tokens for this server, and names the authorization server."""

    ostiary: Ostiary
    issuer: str
    path: str = "/mcp"
    url: str = ""
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    """The introspection response for each token, in order."""

    def admitted(self, token: str) -> bool:
        asked = {"credential": token, "audience": self.url, "scopes": ["read:agents"]}
        self.verdicts.append(self.ostiary.call("POST", "/v1/verify", asked).json())
        return bool(self.verdicts[-1]["valid"])


@contextmanager
def tools(ostiary: Ostiary, issuer: str, path: str = "/mcp") -> Iterator[Tools]:
    """An MCP server, registered at the service as a resource."""
    found = Tools(ostiary, issuer, path)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            metadata = f"/.well-known/oauth-protected-resource{found.path}"
            if self.path == metadata:
                told = {"resource": found.url, "authorization_servers": [found.issuer]}
                self._send(200, told | {"scopes_supported": ["read:agents"]})
                return
            scheme, _, token = self.headers.get("authorization", "").partition(" ")
            if scheme == "Bearer" and found.admitted(token):
                self._send(200, {"tools": []})
                return
            origin = found.url.removesuffix(found.path) if found.path else found.url
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
        found.url = f"http://127.0.0.1:{server.server_address[1]}{path}"
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
    """The data that a client stores between runs."""

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


def client(
    alice: Alice, url: str, kept: Kept, document: str | None = None, redirects: tuple[str, ...] = (CALLBACK,)
) -> OAuthClientProvider:
    """The SDK's client. Alice's browser opens its URLs."""
    back: list[str] = []

    async def visit(address: str) -> None:
        back.append(await asyncio.to_thread(alice.allows, address))

    async def come_back() -> AuthorizationCodeResult:
        given = returned(back.pop())
        return AuthorizationCodeResult(code=given.get("code", ""), state=given["state"], iss=given["iss"])

    metadata = OAuthClientMetadata(client_name="Workbench", redirect_uris=[*map(AnyUrl, redirects)])
    return OAuthClientProvider(url, metadata, kept, visit, come_back, document)


async def _status(provider: OAuthClientProvider, url: str) -> int:
    async with httpx2.AsyncClient(auth=provider, timeout=PATIENCE) as http:
        return (await http.get(url)).status_code


def status(provider: OAuthClientProvider, url: str) -> int:
    return asyncio.run(_status(provider, url))


def walk(alice: Alice, found: Tools, document: str | None = None) -> Kept:
    """Run the whole flow of a client, from its first 401 response."""
    kept = Kept()
    provider = client(alice, found.url, kept, document)
    assert status(provider, found.url) == 200
    first = kept.tokens
    assert first is not None
    assert first.refresh_token is not None
    # The token is for the named resource only: our own API refuses it.
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


def test_a_native_client_comes_back_by_its_own_scheme(alice: Alice) -> None:
    """RFC 8252 §7.1 breaks: an editor's MCP client, which registers its own scheme beside others, cannot register."""
    redirects = (
        "cursor://anysphere.cursor-retrieval/oauth/user-tools/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        REDIRECT,
        "https://vscode.dev/redirect",
    )
    with tools(alice.service, alice.issuer) as found:
        kept = Kept()
        assert status(client(alice, found.url, kept, redirects=redirects), found.url) == 200
        assert kept.client is not None
        assert tuple(map(str, kept.client.redirect_uris or ())) == redirects


def test_a_machine_signs_without_naming_its_key(single: Robo) -> None:
    """RFC 7523 §2.2 breaks: the SDK's helper for private_key_jwt, which sends no `kid`, gets no token."""
    kept = Kept()
    signed = SignedJWTParameters(
        issuer=single.client_id, subject=single.client_id, signing_key=single.key_file["private_key"]
    )
    with tools(single.service, single.issuer) as found:
        provider = PrivateKeyJWTOAuthProvider(
            found.url,
            kept,
            single.client_id,
            signed.create_assertion_provider(),
            "read:agents",
            single.issuer,
        )
        assert status(provider, found.url) == 200
        assert found.verdicts[-1]["principal"]["id"] == single.account["id"]


def test_a_machine_in_typescript_does(single: Robo) -> None:
    """RFC 7523 §2.2 breaks: the SDK's helper for private_key_jwt in TypeScript gets no token."""
    with tools(single.service, single.issuer) as found:
        told = {
            "task": "machine",
            "url": found.url,
            "issuer": single.issuer,
            "client_id": single.client_id,
            "private_key": single.key_file["private_key"],
            "scope": "read:agents",
        }
        done = subprocess.run(
            [javascript.program("node"), str(HERE / "mcp-sdk.mjs"), str(packages())],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        got = json.loads(done.stdout)["done"]
        assert got["came"] == "AUTHORIZED"
        assert found.admitted(got["tokens"]["access_token"])


def test_mcp_remote_writes_the_address_as_browsers_do(alice: Alice, tmp_path: Path) -> None:
    """RFC 8707, RFC 3986 §6.2.3 break: mcp-remote asks for `https://host/`, but the server is named `https://host`."""
    with tools(alice.service, alice.issuer, path="") as found:
        program = packages() / "node_modules" / "mcp-remote" / "dist" / "proxy.js"
        process = subprocess.Popen(
            [javascript.program("node"), str(program), found.url, "--auth-timeout", str(int(PATIENCE))],
            env=os.environ
            | {"MCP_REMOTE_CONFIG_DIR": str(tmp_path), "PATH": str(tmp_path), "BROWSER": "none"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdin is not None
            assert process.stderr is not None
            try:
                address = next(each.strip() for each in process.stderr if each.startswith(alice.issuer))
                assert f"resource={quote(found.url + '/', safe='')}" in address
                back = alice.allows(address)
                assert httpx2.get(back, timeout=PATIENCE).status_code == 200
                for line in process.stderr:
                    if found.verdicts or "rror" in line:
                        break
            finally:
                process.kill()
        assert found.verdicts[-1]["valid"]


def test_what_was_ended_is_asked_for_again(alice: Alice) -> None:
    """RFC 6749 §5.2 breaks: a client whose session was revoked does not ask the person again."""
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
    """The client-id metadata document breaks: an MCP client that uses one cannot reach its tools without registration."""
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
