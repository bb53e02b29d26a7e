"""S5: the cost of a thousand times more keys, for cached and first verifications, start and memory. Also S4 over HTTP."""

import os
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import crowd, rivals
from benchmarks.crowd import Town
from benchmarks.measure import (
    LOAD_CORE,
    Load,
    Plan,
    Row,
    Target,
    at_least,
    at_most,
    keys_script,
    memory,
    percentile,
    sound,
    spread,
    wrk,
)
from tests.servers import Ostiary

FEW = 1000
CLIENTS = 4


@dataclass(frozen=True, slots=True)
class Visit:
    """The measurements of one start of a service. `ready` is in seconds, `cold` in milliseconds."""

    ready: float
    cold: list[float]
    warm: Load
    """The load with all keys of the warm set in turn."""
    few: Load
    """The load with only as many keys as the small database has."""


@contextmanager
def on_load_core() -> Iterator[None]:
    """Run this thread, and threads that it starts, on wrk's core instead of the server's."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def ask(service: Ostiary, keys: Sequence[str]) -> list[float]:
    """Verify each key once over one connection, one after the other. Return the times in milliseconds."""
    took = []
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for key in keys:
            request = f"GET /v1/authorize/- HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode()
            begun = time.perf_counter()
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:  # a 200 response has no body
                part = connection.recv(4096)
                assert part, "the service closed the connection"
                answer += part
            took.append((time.perf_counter() - begun) * 1000)
            assert answer.startswith(b"HTTP/1.1 200 "), answer
    return took


def fill(service: Ostiary, keys: Sequence[str]) -> float:
    """Verify each key once over several connections. Return the requests per second."""
    begun = time.perf_counter()
    with on_load_core(), ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(ask, service, keys[each::CLIENTS]) for each in range(CLIENTS)]:
            done.result()
    return len(keys) / (time.perf_counter() - begun)


@contextmanager
def started(town: Town) -> Iterator[tuple[Ostiary, float]]:
    """Start the service on a data directory. Yield it and the seconds until it was ready."""
    begun = time.perf_counter()
    with rivals.service(town.data, town.first) as service:
        yield service, time.perf_counter() - begun


def visit(town: Town, scratch: Path, plan: Plan, seed: int) -> Visit:
    with started(town) as (service, ready):
        with on_load_core():
            cold = ask(service, town.crowd.draw(FEW, seed))
        keys = town.crowd.draw(plan.warm, seed + 1)
        fill(service, keys)

        def load(chosen: list[str]) -> Load:
            script = keys_script(scratch / f"keys-{len(chosen)}.lua", chosen)
            target = Target(f"{service.url}/v1/authorize/-", service.process.pid, script=script)
            return sound(wrk(target, plan.seconds))

        return Visit(ready, cold, load(keys), load(keys[:FEW]))


def run(scratch: Path, plan: Plan) -> list[Row]:
    small, large = crowd.town(scratch, plan, FEW), crowd.town(scratch, plan, plan.keys)
    visits = [
        (visit(small, scratch, plan, seed), visit(large, scratch, plan, seed))
        for seed in range(0, 2 * plan.rounds, 2)
    ]
    before = [one for one, _ in visits]
    after = [two for _, two in visits]
    grown = f"{plan.keys:,} keys to {FEW:,}"

    def p99(each: Visit) -> float:
        return percentile(each.cold, 0.99)

    with started(large) as (service, _):
        begun, _share = memory(service.process.pid)
        per_second = fill(service, large.crowd.draw(plan.cached, seed=5))
        resident, share = memory(service.process.pid)

    warm = [two.warm.per_cpu_second / one.warm.per_cpu_second for one, two in visits]
    few = [two.few.per_cpu_second / one.warm.per_cpu_second for one, two in visits]
    p99s = f"p99 {spread([p99(each) for each in after])} ms, was {spread([p99(each) for each in before])} ms"
    middle = [statistics.median(each.cold) for each in after]
    return [
        at_least(
            "S5", f"warm rate, {grown}", warm, 0.9, f"{plan.warm:,} keys in turn, in the small database all it has"
        ),
        Row("S5", f"warm rate, {grown}, {FEW:,} keys in turn in both", spread(few)),
        at_most("S5", f"first sight over HTTP, p99, {grown}", [p99(two) / p99(one) for one, two in visits], 2, p99s),
        at_most("S5", f"ready with {plan.keys:,} keys, s", [each.ready for each in after], 5),
        at_most(
            "S5",
            f"memory of the worker after {plan.cached:,} different keys, MB",
            [resident],
            300,
            f"resident; its share of what is shared counted once: {share:.0f}; before: {begun:.0f}",
        ),
        Row("S4", "first sight over HTTP, p50 in ms", spread(middle), note=f"among {plan.keys:,}, one connection"),
        Row("S4", "first sight over HTTP, requests per second", f"{per_second:,.0f}", note=f"{CLIENTS} connections"),
    ]  # fmt: skip
