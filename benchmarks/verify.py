"""S1: a cached API key over HTTP keep-alive, one worker, against nginx's constant in the same run."""

import contextlib
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import LOAD_CORE, ROUNDS, SERVER_CORE, Row, pin, spread, wrk
from tests import servers

NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/log warn; events {{ worker_connections 512; }}
http {{ access_log off; keepalive_requests 100000000;
  client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c;
  uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;
  server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json;
    return 200 '{{"valid":true,"code":"valid","credential_id":"cred_0123456789"}}'; }} }} }}
"""


@contextlib.contextmanager
def constant() -> Iterator[tuple[int, int]]:
    """nginx that answers 60 bytes of JSON; its port and process."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise FileNotFoundError("nginx is not installed")
    home = Path(tempfile.mkdtemp(prefix="ostiary-bench-"))
    port = servers.free_port()
    (home / "nginx.conf").write_text(NGINX.format(home=home, port=port))
    process = subprocess.Popen([program, "-p", str(home), "-c", str(home / "nginx.conf")])
    try:
        servers.wait_until("nginx", lambda: servers.accepts(port), process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def run(scratch: Path) -> list[Row]:
    with servers.ostiary(scratch / "verify") as ostiary, constant() as (port, nginx):
        account = ostiary.call(
            "POST", "/v1/service-accounts", {"display_name": "Robo", "credential": {"kind": "api_key"}}
        )
        key = account.json()["secret"]
        script = scratch / "verify.lua"
        script.write_text(f"wrk.method='POST'\nwrk.body='{{\"credential\":\"{key}\"}}'\n")
        (worker,) = ostiary.workers()
        pin(worker, SERVER_CORE)
        pin(nginx, SERVER_CORE)
        asking = [f"X-API-Key: {ostiary.key}", "Content-Type: application/json"]
        get: list[float] = []
        post: list[float] = []
        rates: list[float] = []
        for _ in range(ROUNDS):
            base = wrk(f"http://127.0.0.1:{port}/", nginx)
            one = wrk(f"{ostiary.url}/v1/authorize/-", worker, [f"X-API-Key: {key}"])
            two = wrk(f"{ostiary.url}/v1/verify", worker, asking, script)
            assert one.errors == two.errors == 0, "the benchmark measured refusals"
            get.append(one.per_cpu_second / base.per_cpu_second)
            post.append(two.per_cpu_second / base.per_cpu_second)
            rates.append(one.per_second)
    note = (
        f"{statistics.median(rates):,.0f} requests/s on core {SERVER_CORE}, load from core {LOAD_CORE}; "
        "served through uvicorn's ASGI, which alone makes about 0.31 of nginx"
    )
    return [
        Row(
            "S1",
            "GET /v1/authorize/-, of nginx's constant",
            spread(get),
            "≥ 0.40",
            statistics.median(get) >= 0.40,
            note,
        ),
        Row(
            "S1",
            "POST /v1/verify, of nginx's constant",
            spread(post),
            "≥ 0.28",
            statistics.median(post) >= 0.28,
        ),
    ]
