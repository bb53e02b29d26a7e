"""HAProxy's own health check, written as in its manual."""

import csv
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.conftest import unavailable
from tests.servers import Ostiary, UnavailableError, accepts, free_port, wait_until

pytestmark = pytest.mark.full

CONFIGURATION = """
defaults
    mode http
    timeout connect 2s
    timeout client 10s
    timeout server 10s

frontend figures
    bind 127.0.0.1:{port}
    stats enable
    stats uri /

backend ostiary
    option httpchk GET {path}
    server node 127.0.0.1:{ostiary} check inter 100ms
"""


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_plain_health_check_finds_the_node_up(service: Ostiary, tmp_path: Path, path: str) -> None:
    """Behind HAProxy everything breaks: its plain check is HTTP/1.0 without Host, and marks the node as down."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        unavailable(UnavailableError("haproxy is not installed: apt-get install haproxy"))
    port = free_port()
    file = tmp_path / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(port=port, path=path, ostiary=service.port))
    process = subprocess.Popen([str(program), "-db", "-f", str(file)])

    def result() -> str:
        """Return the result of the first check, such as L7OK. INI means that it has not run."""
        text = httpx2.get(f"http://127.0.0.1:{port}/;csv").text
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return next(row["check_status"] for row in rows if row["svname"] == "node").removeprefix("* ")

    try:
        wait_until("haproxy", lambda: accepts(port), process)
        wait_until("the first check", lambda: result().startswith(("L4", "L6", "L7")), process)
        assert result() == "L7OK"
    finally:
        process.terminate()
        process.wait(10)
