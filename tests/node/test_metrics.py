"""Monitoring: `/metrics` shows the operator the state of the service, over all processes, and shows others nothing."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ostiary.core.instant import SECOND
from ostiary.core.problem import Problem
from tests.cast import NOON, Answer, Front, House
from tests.http.test_verify import never_made
from tests.node.test_outage import outage
from tests.servers import PATIENCE, Ostiary, clean_environment, wait_until

LOOPBACK = "127.0.0.1"
Labels = frozenset[tuple[str, str]]
NONE: Labels = frozenset()


def labels(**values: str) -> Labels:
    return frozenset(values.items())


def read(text: str) -> dict[str, dict[Labels, float]]:
    """Return every value by metric name and labels, as Prometheus reads them."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def ask(front: Front, peer: str = LOOPBACK, **headers: str) -> Answer:
    return front.ask("GET", "/metrics", peer=peer, headers=headers)


def told(front: Front) -> dict[str, dict[Labels, float]]:
    """Return the output of `/metrics` after the next flush."""
    front.metrics.flush()
    return read(ask(front).body.decode())


def checks(front: Front) -> dict[tuple[str, ...], float]:
    found = told(front).get("ostiary_checks_total", {})
    return {(dict(each)["via"], dict(each)["outcome"]): number for each, number in found.items()}


def test_checks_are_counted_once_whenever_they_are_written(front: Front) -> None:
    """Monitoring breaks: a count falls, doubles or is late, because counts were written or could not be."""
    house = front.house
    key = house.key(house.account()).secret.reveal()
    assert checks(front) == {}
    for number in range(1, 4):
        front.ask("GET", "/v1/capabilities", key=key)
        front.ask("GET", "/v1/authorize/-", key=never_made())
        expected = {("capabilities", "valid"): number, ("authorize", "unknown"): number}
        assert checks(front) == expected
        if number == 2:
            with house.store.engines.writer.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE audit_events RENAME TO elsewhere")
            with pytest.raises(Problem, match="audit-unavailable"):
                front.write_counts()
            with house.store.engines.writer.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit_events")
            assert told(front)["ostiary_counts_waiting"] == {NONE: 2}
            assert checks(front) == expected
        front.write_counts()
        assert checks(front) == expected
    front.ask("GET", "/v1/capabilities")  # nothing was presented
    front.verify(key, key=house.charlie_key)
    assert checks(front) == expected | {("verify", "valid"): 1, ("verify", "unknown"): 1}
    assert told(front)["ostiary_counts_waiting"] == {NONE: 2}


def test_requests_are_told_by_template(front: Front) -> None:
    """Monitoring, P7 break: a path or method from a client becomes a label value of its own."""
    key = front.house.alice_key
    for method, target in (
        ("GET", "/v1/service-accounts/sa_1"),
        ("GET", "/v1/service-accounts/sa_2"),
        ("GET", "/v1/projects"),
        ("GET", f"/nowhere/{key}"),
        ("BREW", "/v1/projects"),
        ("POUR", "/v1/projects"),
        ("GET", "/healthz"),
    ):
        front.ask(method, target, key=key)
    found = told(front)
    assert found["ostiary_requests_total"] == {
        labels(method="GET", route="/v1/service-accounts/{account}", status="4xx"): 2,
        labels(method="GET", route="/v1/projects", status="2xx"): 1,
        labels(method="GET", route="-", status="4xx"): 1,
        labels(method="other", route="/v1/projects", status="4xx"): 2,
        labels(method="GET", route="/healthz", status="2xx"): 1,
    }
    times = found["ostiary_request_duration_seconds_count"]
    assert times[labels(method="GET", route="/v1/service-accounts/{account}")] == 2
    buckets = found["ostiary_request_duration_seconds_bucket"]
    assert buckets[labels(method="GET", route="/v1/projects", le="+Inf")] == 1


def test_faults_of_judging_are_told(front: Front) -> None:
    """Monitoring breaks: verification returns 503 or 500, and no metric changes."""
    house = front.house
    keys = [house.key(house.account()).secret.reveal() for _ in range(2)]
    asked = [
        ("GET", "/v1/capabilities", None),
        ("GET", "/v1/authorize/-", None),
        ("GET", "/v1/authorize/-/some/path", None),
        ("GET", "/v1/authorize-nginx/-", None),
        ("POST", "/v1/verify", {"credential": keys[0]}),
    ]

    def faults() -> dict[Labels, float]:
        found = told(front).get("ostiary_requests_total", {})
        return {each: number for each, number in found.items() if ("route", "/metrics") not in each}

    for method, target, body in asked:
        front.ask(method, target, body, key=keys[0])
    assert faults() == {}
    with outage(front):
        assert [front.ask(*each, key=keys[1]).status for each in asked] == [503, 503, 503, 403, 503]
    expected = {
        labels(method=method, route=route, status="5xx"): number
        for method, route, number in (
            ("GET", "/v1/capabilities", 1),
            ("GET", "/v1/authorize/{rule}", 2),
            ("GET", "/v1/authorize-nginx/{rule}", 1),
            ("POST", "/v1/verify", 1),
        )
    }
    assert faults() == expected
    with house.store.engines.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE generations RENAME TO elsewhere")
    assert front.ask("GET", "/v1/authorize-nginx/-", key=keys[1]).status == 500
    expected[labels(method="GET", route="/v1/authorize-nginx/{rule}", status="5xx")] += 1
    assert faults() == expected


@pytest.mark.promise("P7")
def test_no_label_says_whose_anything_is(front: Front) -> None:
    """P7 breaks: a label contains a tenant, a person, an account, an address or a credential."""
    house = front.house
    made = house.key(house.account("Robo", username="robo"))
    text, credential = made.secret.reveal(), made.listed.credential
    for path in (
        "/v1/capabilities",
        "/v1/authorize/-",
        f"/v1/credentials/{credential.id}",
        "/v1/organizations/acme",
    ):
        front.ask("GET", path, key=text, peer="198.51.100.7", headers={"user-agent": "some-agent"})
        front.ask("GET", path, key=house.alice_key, peer="198.51.100.7")
        front.ask("GET", f"{path}?email=alice@acme.test", key=f"{text}x")
    front.write_counts()
    front.metrics.flush()
    shown = ask(front).body.decode()
    for each in (credential.id, credential.access_id, credential.owner_id, credential.last6, house.acme.id, "acme",
                 "alice", "198.51", "some-agent", text[-12:], house.alice_key[-12:]):  # fmt: skip
        assert each.lower() not in shown.lower(), each
    names = {name for figures in read(shown).values() for each in figures for name, _ in each}
    assert names == {"via", "outcome", "method", "route", "status", "le", "version"}


def test_the_cache_and_the_database(front: Front) -> None:
    """Monitoring breaks: metrics do not show that the cache is cold or behind, or that the database fails."""
    house = front.house
    key = house.key(house.account()).secret.reveal()
    for _ in range(3):
        front.ask("GET", "/v1/capabilities", key=key)
    found = told(front)
    assert found["ostiary_cache_misses_total"] == {NONE: 1}
    assert found["ostiary_cache_standings"] == {NONE: 1}
    looks = found["ostiary_cache_looks_total"][NONE]
    assert looks > 0
    assert found["ostiary_cache_last_look_timestamp_seconds"] == {NONE: NOON / SECOND}
    assert "ostiary_database_errors_total" not in found
    house.clock.advance(7 * SECOND)
    front.facts.sync()
    house.clock.advance(2 * SECOND)
    house.store.engines.reader.dispose()
    database = Path(house.store.engines.reader.url.database or "")
    database.rename(database.with_suffix(".away"))
    database.mkdir()
    for _ in range(2):
        with pytest.raises(Problem):
            front.facts.sync()
    found = told(front)
    assert found["ostiary_cache_looks_total"] == {NONE: looks + 1}
    assert found["ostiary_cache_last_look_timestamp_seconds"] == {NONE: NOON / SECOND + 7}
    assert found["ostiary_database_errors_total"] == {labels(reason="cannot be opened"): 2}


def test_what_the_process_is(front: Front) -> None:
    """Monitoring breaks: metrics do not show the version, the start time and the number of processes."""
    front.metrics.connections = lambda: 3
    found = told(front)
    assert found["ostiary_workers"] == {NONE: 1}
    assert found["ostiary_connections"] == {NONE: 3}
    assert found["ostiary_start_time_seconds"] == {NONE: NOON / SECOND}
    [(version, one)] = found["ostiary_build_info"].items()
    assert list(dict(version)) == ["version"]
    assert one == 1


def test_the_form_that_is_asked_for(front: Front) -> None:
    """Monitoring breaks: Prometheus cannot read the response, or a proxy caches it."""
    plain = ask(front)
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert plain.headers["cache-control"] == "no-store"
    asked = ask(front, accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.body.endswith(b"# EOF\n")
    for version in ("abc", "x.0", "1.x"):
        odd = ask(front, accept=f"application/openmetrics-text; version={version}")
        assert (odd.status, odd.headers["content-type"]) == (200, plain.headers["content-type"])


# Who may read it


@pytest.fixture
def fronts(sqlite_house: House, tmp_path: Path) -> Iterator[Any]:
    made = []

    def make(metrics: str | None) -> Front:
        settings = {} if metrics is None else {"metrics": metrics}
        made.append(Front(sqlite_house, tmp_path, trusted_proxies="127.0.0.1", **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(
    "setting, peer, status",
    [
        (None, "127.0.0.1", 200),
        (None, "::1", 200),
        (None, "::ffff:127.0.0.1", 200),
        (None, "192.0.2.1", 404),
        (None, "10.1.2.3", 404),
        ("loopback", "127.8.9.1", 200),
        ("10.0.0.0/8", "10.1.2.3", 200),
        ("10.0.0.0/8", "127.0.0.1", 404),
        ("loopback, 10.1.2.3", "127.0.0.1", 200),
        ("loopback, 10.1.2.3", "10.1.2.3", 200),
        ("loopback, 10.1.2.3", "10.1.2.4", 404),
        ("none", "127.0.0.1", 404),
        ("", "127.0.0.1", 404),
    ],
)
def test_who_may_read_it(fronts: Any, setting: str | None, peer: str, status: int) -> None:
    """Monitoring breaks: strangers can read the metrics, or the operator's Prometheus cannot."""
    front = fronts(setting)
    answer = ask(front, peer)
    assert answer.status == status
    if status == 404:
        nothing = front.ask("GET", "/nowhere", peer=peer)
        same = {"instance": ""}
        assert answer.json() | same == nothing.json() | same


@pytest.mark.parametrize(
    "field",
    [
        ("x-forwarded-for", "127.0.0.1"),
        ("X-Forwarded-For", ""),
        ("x-forwarded-host", "keys.example.com"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
        ("X_Forwarded_For", "203.0.113.7"),
        ("Client-IP", "203.0.113.7"),
        ("True-Client-IP", "203.0.113.7"),
        ("CF-Connecting-IP", "203.0.113.7"),
        ("X-Envoy-External-Address", "203.0.113.7"),
    ],
    ids=lambda field: field[0],
)
def test_what_a_proxy_passed_on_is_refused(front: Front, field: tuple[str, str]) -> None:
    """Monitoring breaks: through a proxy on the same machine, the internet can read the metrics."""
    assert ask(front, **{field[0]: field[1]}).status == 404
    # A stranger cannot forge an allowed address.
    assert ask(front, "198.51.100.7", **{field[0]: field[1]}).status == 404


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("keys.example.com", 200),
        ("rebound.test:8080", 404),
        ("keys.example.com.rebound.test", 404),
        ("localhost@rebound.test", 404),
        ("[::1", 404),
        ("", 404),
    ],
)
def test_a_page_that_a_browser_was_led_to_reads_nothing(
    sqlite_house: House, tmp_path: Path, host: str, status: int
) -> None:
    """Monitoring breaks: a site reads the metrics with a visitor's browser by DNS rebinding."""
    front = Front(sqlite_house, tmp_path, metrics="loopback, 10.0.0.0/8", issuer="https://keys.example.com")
    with closing(front):
        for peer, expected in ((LOOPBACK, status), ("::1", status), ("10.0.0.1", 200)):
            assert ask(front, peer, host=host).status == expected


# Over several processes

WORKER = """
import os, sys
from pathlib import Path
from ostiary.node import metrics
from ostiary.node.metrics import Metrics
from ostiary.storage import engines
from ostiary.storage.store import Store
from ostiary.storage.usage_buffer import UsageBuffer, UsageEvent
from ostiary.storage.fact_cache import ChangeNumber, FactCache
from ostiary.core.installation import Installation
from ostiary.core.keyring import derive
from tests.cast import MASTER_KEY, NOON, Clock, Entropy

data = Path(sys.argv[1])
(data / "metrics").mkdir(mode=0o755)
(data / "metrics" / "counter_1.db").write_bytes(b"of a service that ended")
metrics.share(data / "metrics")

def worker(number, since):
    store = Store(engines.connect(engines.sqlite_url(data / "none.db")), Installation(derive([MASTER_KEY])),
                  Clock(NOON + since * 1_000_000), Entropy())
    counts = UsageBuffer()
    made = Metrics(store, FactCache(store, ChangeNumber(data / f"{number}.number"), lambda: 0.0, 30), counts)
    made.connections = lambda: number
    for _ in range(number):
        counts.add(UsageEvent(True, "valid", None, "authorize"), NOON)
        made.request("GET", "/v1/projects", 200, 0.003)
    made.flush()
    return made

"""
FAMILY = """
def asked(): return made.told("")[0].decode()

pids = []
for number in (10, 200):
    ready, told = os.pipe()
    waits, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        for each in (go, *(earlier for _, earlier in pids)):
            os.close(each)  # so that it always ends with the first process
        mine = worker(number, number)
        os.write(told, b"x")
        os.read(waits, 1)  # runs until the pipe is written or closed
        os._exit(0)
    os.read(ready, 1)
    pids.append((pid, go))
made = worker(3000, 0)  # after the fork, with metrics of its own
print(asked(), end="\\0")
pid, go = pids[1]
os.write(go, b"x")
os.waitpid(pid, 0)
metrics.bury(pid)
print(asked(), end="\\0")
os.write(pids[0][1], b"x")
os.waitpid(pids[0][0], 0)
print(*(f"{oct(each.stat().st_mode & 0o777)} {each.stat().st_blocks * 512 >= each.stat().st_size}"
        for each in (data / "metrics").glob("*.db")), sep="\\n", end="\\0")
"""

ONE_AFTER_ANOTHER = """
for number in range(1, 7):
    pid = os.fork()
    if pid == 0:
        mine = worker(number, number)
        for each in range(40 * number):
            mine.request("GET", f"/v1/{number}/{each}", 200, 0.003)  # more than fits into what is reserved
        (data / "metrics" / f"histogram_{os.getpid()}.new").touch()  # as left by a process that is killed early
        os._exit(0)
    os.waitpid(pid, 0)
    metrics.bury(pid)
    for each in sorted((data / "metrics").iterdir()):
        print(each.name, each.stat().st_blocks * 512 >= each.stat().st_size)
print(end="\\0")
print(worker(100, 0).told("")[0].decode())
"""


# No file can grow, as on a full disk. Only the error number differs.
NO_ROOM = """
import resource
(data / "none.db").touch()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
print(worker(3, 0).told("")[0].decode(), *(data / "metrics").iterdir())
"""


def run(script: str, data: Path) -> str:
    """Return the output of the script in a separate process that is set up like a worker."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER + script, str(data)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=clean_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
def test_without_room_on_the_disk_it_serves_without_figures(tmp_path: Path) -> None:
    """B1 breaks: on a full disk a worker does not start, or a metric that it writes kills it."""
    lines = run(NO_ROOM, tmp_path).splitlines()
    assert "metrics of this process are not kept" in lines[0]
    assert lines[1:] == [""]


@pytest.mark.full
def test_processes_are_summed_and_a_dead_one_is_not_there(tmp_path: Path) -> None:
    """Monitoring breaks: a worker reports only its own counts, or an ended one loses its counts or still counts as alive."""
    both, after, files, _ = run(FAMILY, tmp_path).split("\0")
    asked = {"method": "GET", "route": "/v1/projects"}
    for text, workers, connections, oldest in ((both, 3, 3210, 0), (after, 2, 3010, 0)):
        found = read(text)
        assert sum(found["ostiary_checks_total"].values()) == 3210
        assert found["ostiary_requests_total"] == {labels(**asked, status="2xx"): 3210}
        assert found["ostiary_request_duration_seconds_count"] == {labels(**asked): 3210}
        assert found["ostiary_request_duration_seconds_bucket"][labels(**asked, le="0.005")] == 3210
        assert found["ostiary_workers"] == {NONE: workers}
        assert found["ostiary_connections"] == {NONE: connections}
        assert found["ostiary_start_time_seconds"] == {NONE: NOON / SECOND + oldest}
    # Owner-only, and with reserved disk space: writing to a mapped page without space would kill the process.
    assert set(files.split("\n")) == {"0o600 True"}
    assert stat.S_IMODE((tmp_path / "metrics").stat().st_mode) == 0o700


@pytest.mark.full
@pytest.mark.promise("P20")
def test_those_that_ended_take_no_more_room(tmp_path: Path) -> None:
    """P20, Monitoring break: each ended worker leaves files forever, or its counts are lost or doubled."""
    files, text = run(ONE_AFTER_ANOTHER, tmp_path).split("\0")
    assert files.splitlines() == ["counter_ended.db True", "histogram_ended.db True"] * 6
    found = read(text)
    assert sum(found["ostiary_checks_total"].values()) == 121
    asked = {"method": "GET", "route": "/v1/projects"}
    assert found["ostiary_requests_total"][labels(**asked, status="2xx")] == 121
    assert found["ostiary_request_duration_seconds_bucket"][labels(**asked, le="0.005")] == 121
    assert sum(found["ostiary_request_duration_seconds_count"].values()) == 121 + 40 * 21
    assert found["ostiary_workers"] == {NONE: 1}


@pytest.mark.full
def test_of_a_real_service(service: Ostiary) -> None:
    """Monitoring breaks: `ostiary serve` itself has no metrics, or wrong ones."""

    def get(**headers: str) -> httpx2.Response:
        return httpx2.get(f"http://127.0.0.1:{service.port}/metrics", headers=headers)

    def refused() -> float:
        found = read(get().text).get("ostiary_checks_total", {})
        return found.get(labels(via="authorize", outcome="no_such_rule"), 0)

    # An outcome of this test's own: other tests share the service, and their uses may not be published yet.
    assert refused() == 0
    for _ in range(5):
        asked = httpx2.get(f"{service.url}/v1/authorize/no-such/", headers={"x-api-key": service.key})
        assert asked.status_code == 403
    wait_until("the next second", lambda: refused() == 5)
    found = read(get().text)
    assert found["ostiary_workers"][NONE] >= 1
    assert found["ostiary_connections"][NONE] >= 0
    assert re.fullmatch(r"\d+\.\d.*", dict(next(iter(found["ostiary_build_info"])))["version"])
    assert get(**{"x-forwarded-for": "127.0.0.1"}).status_code == 404
    assert stat.S_IMODE((service.data / "metrics").stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in (service.data / "metrics").iterdir()} == {0o600}
