"""S1: verifies a cached API key over HTTP keep-alive with one worker, compared with three other servers.

S2: verifies a cached access token, compared with the key at the same endpoint.
"""

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import httpx2

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
INTROSPECT = "POST /oauth/introspect"
BY_SECRET = f"{INTROSPECT}, asked by a client secret"
OF_TOKEN = {each: f"{each}, an access token" for each in (GET, POST, INTROSPECT)}
NGINX, OWN, PEER = "nginx's constant", "our own constant", "the peer's introspection"
BARS = {
    GET: {NGINX: 0.40, OWN: 0.55, PEER: 10.0},
    LIMITED: {NGINX: 0.40, OWN: 0.55, PEER: 10.0},
    POST: {NGINX: 0.28, OWN: 0.40, PEER: 8.0},
    INTROSPECT: {NGINX: 0.28, OWN: 0.40, PEER: 8.0},
}


def robo(service: Ostiary) -> str:
    """Create a service account and return its API key."""
    return _made(service, "api_key")[1]


def client(service: Ostiary, *roles: str) -> tuple[str, str]:
    """Create a service account with these roles. Return its client id and client secret."""
    return _made(service, "client_secret", *roles)


def _made(service: Ostiary, kind: str, *roles: str) -> tuple[str, str]:
    body = {
        "display_name": "Robo",
        "roles": [{"role": each} for each in roles],
        "credential": {"kind": kind},
    }
    made = service.call("POST", "/v1/service-accounts", body)
    assert made.status_code == 201, made.text
    return str(made.json()["service_account"]["client_id"]), str(made.json()["secret"])


def token(service: Ostiary, client_id: str, secret: str) -> str:
    """Request an access token for a client with the client credentials grant."""
    found = httpx2.post(
        f"{service.url}/oauth/token", data={"grant_type": "client_credentials"}, auth=(client_id, secret)
    )
    assert found.status_code == 200, found.text
    return str(found.json()["access_token"])


def _asked_about(service: Ostiary, scratch: Path, what: str, text: str) -> dict[str, Target]:
    """Return the two requests of a resource server about a credential. Both authenticate with an API key."""
    scripts = {
        POST: body_script(scratch / f"verify-{what}.lua", f'{{"credential":"{text}"}}', "application/json"),
        INTROSPECT: body_script(scratch / f"introspect-{what}.lua", f"token={text}", rivals.FORM),
    }
    by_key = (f"X-API-Key: {service.key}",)
    return {
        name: Target(service.url + name.split()[1], service.process.pid, by_key, script)
        for name, script in scripts.items()
    }


def asked_by_key(service: Ostiary, key: str) -> Target:
    """Return the request that a proxy sends for each request it receives."""
    return Target(f"{service.url}/v1/authorize/-", service.process.pid, (f"X-API-Key: {key}",))


def run(scratch: Path, plan: Plan) -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as stack:
        service = stack.enter_context(rivals.service(scratch / "verify"))
        limited = stack.enter_context(rivals.service(scratch / "limited", None, **rivals.LIMITED))
        key = robo(service)
        client_id, secret = client(service, "organization-admin")
        bearer = token(service, client_id, secret)
        about_key = _asked_about(service, scratch, "key", key)
        about_token = _asked_about(service, scratch, "token", bearer)
        targets = {
            GET: asked_by_key(service, key),
            LIMITED: asked_by_key(limited, robo(limited)),
            **about_key,
            BY_SECRET: replace(about_key[INTROSPECT], headers=(rivals.basic(client_id, secret),)),
            OF_TOKEN[GET]: replace(asked_by_key(service, key), headers=(f"Authorization: Bearer {bearer}",)),
            **{OF_TOKEN[name]: target for name, target in about_token.items()},
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
    for name, of_token in OF_TOKEN.items():
        found = [
            mine.per_cpu_second / other.per_cpu_second
            for mine, other in zip(loads[of_token], loads[name], strict=True)
        ]
        rows.append(at_least("S2", f"{of_token}, of an API key", found, 0.9))
    rows += [Row("S1", f"{name}, requests per CPU-second", _thousands(each)) for name, each in loads.items()]
    note = f"p99 {spread([load.p99 for load in alone], 3)}"
    rows.append(at_most("S1", f"{GET}, one connection, p50 in ms", [load.p50 for load in alone], 0.1, note))
    return rows


def _thousands(loads: list[Load]) -> str:
    rates = [load.per_cpu_second for load in loads]
    middle = statistics.median(load.per_second for load in loads)
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f}); {middle:,.0f} requests/s"


def _entered(
    stack: ExitStack, context: AbstractContextManager[T], missing: Callable[[str], object]
) -> T | None:
    """Start a server. If it is not available on this machine, call `missing` with the reason and return None."""
    try:
        return stack.enter_context(context)
    except servers.UnavailableError as error:
        missing(str(error))
        return None
