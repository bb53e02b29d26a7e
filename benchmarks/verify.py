"""S1: a cached API key over HTTP keep-alive, one worker, against three others in the same rounds."""

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeVar

from benchmarks import rivals
from benchmarks.measure import (
    Load,
    Plan,
    Row,
    Target,
    absent,
    at_least,
    at_most,
    body_script,
    sound,
    spread,
    wrk,
)
from tests import servers
from tests.servers import Ostiary

T = TypeVar("T")

GET, LIMITED, POST = "GET /v1/authorize/-", "GET /v1/authorize/- with a rate limit", "POST /v1/verify"
NGINX, OWN, PEER = "nginx's constant", "our own constant", "the peer's introspection"
BARS = {
    GET: {NGINX: 0.40, OWN: 0.55, PEER: 10.0},
    LIMITED: {NGINX: 0.40, OWN: 0.55, PEER: 10.0},
    POST: {NGINX: 0.28, OWN: 0.40, PEER: 8.0},
}


def robo(service: Ostiary) -> str:
    """The API key of a new service account."""
    made = service.call(
        "POST", "/v1/service-accounts", {"display_name": "Robo", "credential": {"kind": "api_key"}}
    )
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


def asked_by_key(service: Ostiary, key: str) -> Target:
    """What a proxy asks, once for each request."""
    return Target(f"{service.url}/v1/authorize/-", service.process.pid, (f"X-API-Key: {key}",))


def run(scratch: Path, plan: Plan) -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as stack:
        service = stack.enter_context(rivals.service(scratch / "verify"))
        limited = stack.enter_context(rivals.service(scratch / "limited", None, **rivals.LIMITED))
        key = robo(service)
        script = body_script(scratch / "verify.lua", f'{{"credential":"{key}"}}', "application/json")
        targets = {
            GET: asked_by_key(service, key),
            LIMITED: asked_by_key(limited, robo(limited)),
            POST: Target(
                f"{service.url}/v1/verify", service.process.pid, (f"X-API-Key: {service.key}",), script
            ),
            OWN: stack.enter_context(rivals.own_constant(key)),
        }
        version = ""
        if nginx := _entered(stack, rivals.nginx(scratch), lambda why: rows.append(absent("S1", NGINX, why))):
            targets[NGINX] = nginx
        if peer := _entered(stack, rivals.peer(scratch), lambda why: rows.append(absent("S1", PEER, why))):
            targets[PEER], version = peer
            wrk(targets[PEER], plan.warm_up)
        loads: dict[str, list[Load]] = {name: [] for name in targets}
        for _ in range(plan.rounds):
            for name, target in targets.items():
                loads[name].append(sound(wrk(target, plan.seconds)))
        alone = [sound(wrk(targets[GET], plan.seconds, connections=1)) for _ in range(plan.rounds)]
    for ours, bars in BARS.items():
        for theirs, bar in bars.items():
            if theirs in loads:
                found = [
                    mine.per_cpu_second / other.per_cpu_second
                    for mine, other in zip(loads[ours], loads[theirs], strict=True)
                ]
                note = version if theirs == PEER else ""
                rows.append(at_least("S1", f"{ours}, of {theirs}", found, bar, note))
    rows += [Row("S1", f"{name}, requests per CPU-second", _thousands(each)) for name, each in loads.items()]
    note = f"p99 {spread([load.p99 for load in alone], 3)}"
    rows.append(at_most("S1", f"{GET}, one connection, p50 in ms", [load.p50 for load in alone], 0.1, note))
    rows.append(absent("S1", "POST /oauth/introspect", "this version has no OAuth"))
    return rows


def _thousands(loads: list[Load]) -> str:
    rates = [load.per_cpu_second for load in loads]
    middle = statistics.median(load.per_second for load in loads)
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f}); {middle:,.0f} requests/s"


def _entered(
    stack: ExitStack, context: AbstractContextManager[T], missing: Callable[[str], object]
) -> T | None:
    """Start a server that may not be had on this machine; None, and why is told, if it cannot."""
    try:
        return stack.enter_context(context)
    except servers.UnavailableError as error:
        missing(str(error))
        return None
