"""The measured servers, each as a context manager on the server's core: Ostiary, nginx, the baseline, and a peer."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks import constant
from benchmarks.measure import Target, body_script, pin
from tests import javascript, servers
from tests.servers import Ostiary


def basic(client_id: str, secret: str) -> str:
    """Return the header by which a client authenticates."""
    return f"Authorization: Basic {b64encode(f'{client_id}:{secret}'.encode()).decode()}"


ALONE: Final = {
    "OSTIARY_WORKERS": "1",
    "OSTIARY_DEFAULT_RATE_LIMIT": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT": "none",
}
"""The settings of every measured service: one worker, and no limit that a benchmark would reach."""
LIMITED: Final = {"OSTIARY_DEFAULT_RATE_LIMIT": "1000000"}
"""A rate limit that counts every request and is never reached."""

PEER: Final = "oidc-provider"
PEER_PACKAGE: Final = f"{PEER}@9"
PEER_CLIENT: Final = basic("robo", "secret")
FORM: Final = "application/x-www-form-urlencoded"
TRADE: Final = "grant_type=client_credentials"

NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/log warn; events {{ worker_connections 512; }}
http {{ access_log off; keepalive_requests 100000000;
  client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c;
  uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;
  server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json;
    return 200 '{body}'; }} }} }}
"""


@contextlib.contextmanager
def service(data: Path, first: dict[str, Any] | None = None, **environment: str) -> Iterator[Ostiary]:
    """Run `ostiary serve` with one worker."""
    with servers.ostiary(data, first, None, **(ALONE | environment)) as found:
        pin(found.process.pid)
        yield found


@contextlib.contextmanager
def nginx(scratch: Path) -> Iterator[Target]:
    """Run nginx with a constant response."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise servers.UnavailableError("nginx is not installed")
    home = Path(tempfile.mkdtemp(prefix="nginx-", dir=scratch))
    port = servers.free_port()
    (home / "nginx.conf").write_text(NGINX.format(home=home, port=port, body=constant.BODY.decode()))
    with _running("nginx", [program, "-p", str(home), "-c", str(home / "nginx.conf")], port) as process:
        yield Target(f"http://127.0.0.1:{port}/", process.pid)


@contextlib.contextmanager
def own_constant(key: str) -> Iterator[Target]:
    """Run the baseline server, `benchmarks.constant`. It gets the same requests as Ostiary."""
    port = servers.free_port()
    command = [sys.executable, "-m", "benchmarks.constant", str(port)]
    with _running("our constant", command, port) as process:
        yield Target(f"http://127.0.0.1:{port}/v1/authorize/-", process.pid, (f"X-API-Key: {key}",))


@contextlib.contextmanager
def peer(scratch: Path) -> Iterator[tuple[Target, str]]:
    """Run node's oidc-provider, which introspects a valid opaque token. Yield the target, name and version."""
    with _peer(scratch, "opaque") as (url, pid, token, version):
        script = body_script(scratch / "peer.lua", f"token={token}", FORM)
        yield Target(f"{url}/token/introspection", pid, (PEER_CLIENT,), script), version


@contextlib.contextmanager
def issuing_peer(scratch: Path) -> Iterator[tuple[Target, str]]:
    """Run node's oidc-provider, which issues ES256 JWTs for client credentials. Yield the target, name and version."""
    with _peer(scratch, "jwt") as (url, pid, token, version):
        assert token.startswith("eyJ")
        script = body_script(scratch / "issuing-peer.lua", TRADE, FORM)
        yield Target(f"{url}/token", pid, (PEER_CLIENT,), script), version


@contextlib.contextmanager
def _peer(scratch: Path, form: str) -> Iterator[tuple[str, int, str, str]]:
    """Run the peer with `opaque` or `jwt` tokens. Yield its URL, process id, a token, and its name and version."""
    home = _installed_peer()
    version = json.loads((home / "node_modules" / PEER / "package.json").read_text())["version"]
    port = servers.free_port()
    command = [
        javascript.program("node"),
        str(Path(__file__).with_name("peer.mjs")),
        str(port),
        str(home),
        form,
    ]
    told = scratch / f"peer-{form}.token"
    with told.open("wb") as out, _running(PEER, command, port, out) as process:
        servers.wait_until(f"a token of {PEER}", lambda: told.read_text().endswith("\n"), process)
        yield f"http://127.0.0.1:{port}", process.pid, told.read_text().strip(), f"{PEER} {version}"


def _installed_peer() -> Path:
    """Install the peer once in the user's cache, without running package scripts. Return its directory."""
    home = javascript.cache("ostiary-bench")
    if not (home / "node_modules" / PEER / "package.json").exists():
        npm = javascript.program("npm")
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text('{"private": true}\n')
        javascript.run(PEER_PACKAGE, npm, "install", PEER_PACKAGE, cwd=home)
    return home


@contextlib.contextmanager
def _running(
    name: str, command: list[str], port: int, out: Any = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block. Enter the block when it responds on the port."""
    process = subprocess.Popen(command, stdout=out)
    try:
        servers.wait_until(name, lambda: servers.accepts(port), process)
        pin(process.pid)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
