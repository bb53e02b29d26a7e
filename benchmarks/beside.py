"""S13: verification over one connection, while another client creates and lists credentials without pause.

`python -m benchmarks.beside PORT ACCOUNT` runs that client. Its API key is in OSTIARY_API_KEY.
"""

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import rivals
from benchmarks.measure import LOAD_CORE, Load, Plan, Row, at_most, sound, spread, wrk
from benchmarks.verify import GET, asked_by_key, robo
from tests.servers import Ostiary


def run(scratch: Path, plan: Plan) -> list[Row]:
    idle: list[Load] = []
    beside: list[Load] = []
    calls: list[int] = []
    with rivals.service(scratch / "beside") as service:
        target = asked_by_key(service, robo(service))
        account = service.call("POST", "/v1/service-accounts", {"display_name": "Busy"}).json()[
            "service_account"
        ]["id"]
        for _ in range(plan.rounds):
            idle.append(sound(wrk(target, plan.seconds, connections=1)))
            with _busy(service, account) as counted:
                beside.append(sound(wrk(target, plan.seconds, connections=1)))
            calls.extend(counted)
    work = f"{GET}, one connection, beside a client that creates and lists"
    note = f"idle: {spread([load.p50 for load in idle], 3)}"
    worst = f"idle: {spread([load.p99 for load in idle], 3)}"
    rate = statistics.median(calls) / plan.seconds
    return [
        at_most("S13", f"{work}, p50 in ms", [load.p50 for load in beside], 1, note),
        at_most("S13", f"{work}, p99 in ms", [load.p99 for load in beside], 10, worst),
        Row("S13", "what that client did, calls per second", f"{rate:,.0f}", note="each second one creates"),
    ]


@contextmanager
def _busy(service: Ostiary, account: str) -> Iterator[list[int]]:
    """Run the client in its own process. After the block, the list holds the number of its calls."""
    command = [sys.executable, "-m", "benchmarks.beside", str(service.port), account]
    environment = os.environ | {"OSTIARY_API_KEY": service.key}
    counted: list[int] = []
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n", "the client could not create a credential"
        yield counted
        process.terminate()
        counted.append(int(process.communicate(timeout=30)[0]))
    finally:
        process.kill()
        process.wait()


def keep_busy(port: int, key: str, account: str) -> None:
    """Create a credential and list credentials, in turn, until SIGTERM."""
    os.sched_setaffinity(0, {LOAD_CORE})
    os.nice(19)  # wrk shares the core, and its measurement must not be disturbed
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    calls = 0
    while not stopped:
        for method, path, body, status in (
            ("POST", f"/v1/service-accounts/{account}/credentials", json.dumps({"kind": "api_key"}), 201),
            ("GET", "/v1/credentials", None, 200),
        ):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != status:
                raise SystemExit(f"{method} {path}: {answer.status}")
            calls += 1
        if calls == 2:
            print("at work", flush=True)
    print(calls)


if __name__ == "__main__":
    keep_busy(int(sys.argv[1]), os.environ["OSTIARY_API_KEY"], sys.argv[2])
