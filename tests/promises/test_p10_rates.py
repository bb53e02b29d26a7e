"""P10: a rate limit is never exceeded. The test uses every limit at every endpoint that charges, at full speed.

The test counts responses. The service reads the same clock as the test, some time between the start of the request and
the end of the response. So every window that begins with one accepted request and ends with another contains at most
N + N t / 60 requests, where t is the time from the beginning of the first to the end of the last.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from ostiary.auth.rates import FAILURES
from tests import servers
from tests.cast import SEED, Answer
from tests.conftest import PROVE
from tests.http.test_rates import unknown
from tests.promises.line import Line, prove
from tests.servers import Ostiary

pytestmark = [pytest.mark.promise("P10"), pytest.mark.full]

LIMITS = (1, 10, 60, 1000)
WORKERS = (1, 2)
"""The numbers of worker processes."""
SECONDS = 60 if PROVE else 0
"""The minimum duration of the load, and the minimum number of refused requests."""
BAD_KEYS = 10_000 if PROVE else 1000
CONNECTIONS = 3
"""Connections per limit, so that every worker has some."""

ADDRESSES = ("verify", "authorize", "authorize-nginx", "capabilities", "management")


FIGURES: dict[str, object] = {}


@dataclass(slots=True)
class Cell:
    """One limit at one endpoint, with its own key."""

    limit: int
    address: str
    key: str
    accepted: list[tuple[float, float]] = field(default_factory=list)
    """The start of each accepted request, and the end of its response."""
    refused: int = 0

    def run(self, server: Ostiary) -> "Cell":
        until = time.time() + SECONDS
        number = 0
        with ExitStack() as stack:
            lines = [stack.enter_context(Line(server.port, server.key)) for _ in range(CONNECTIONS)]
            while self.refused < 20 or time.time() < until:
                began = time.time()
                answer = self._ask(lines[number % CONNECTIONS])
                number += 1
                if self._is_accepted(answer):
                    self.accepted.append((began, time.time()))
                else:
                    self.refused += 1
        return self

    def _ask(self, line: Line) -> Answer:
        match self.address:
            case "verify":
                return line.ask("POST", "/v1/verify", {"credential": self.key})
            case "authorize":
                return line.ask("GET", "/v1/authorize/-", key=self.key)
            case "authorize-nginx":
                return line.ask("GET", "/v1/authorize-nginx/-", key=self.key)
            case "capabilities":
                return line.ask("GET", "/v1/capabilities", key=self.key)
            case _:
                return line.ask("GET", "/v1/agents", key=self.key)

    def _is_accepted(self, answer: Answer) -> bool:
        if self.address == "verify":
            assert answer.status == 200
            assert answer.json()["code"] in ("valid", "rate_limited")
            return answer.json()["valid"] is True
        if answer.status == 200:
            assert answer.headers["ratelimit-policy"] == f'"default";q={self.limit};w=60'
            return True
        assert answer.status == (403 if self.address == "authorize-nginx" else 429)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        return False

    def worst(self) -> float:
        """Return how far the fullest window is above its limit. It must not be above 0."""
        times = self.accepted
        return max(
            last - first + 1 - self.limit - self.limit * (times[last][1] - times[first][0]) / 60
            for first in range(len(times))
            for last in range(first, len(times))
        )

    def allowed(self) -> float:
        return self.limit + self.limit * (self.accepted[-1][1] - self.accepted[0][0]) / 60


@pytest.fixture(scope="module", params=WORKERS, ids=lambda number: f"{number} workers")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ostiary]:
    with servers.ostiary(
        tmp_path_factory.mktemp("rates") / "data",
        OSTIARY_TRUSTED_PROXIES="127.0.0.1",
        OSTIARY_DEFAULT_RATE_LIMIT="none",
        OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT="none",
        OSTIARY_WORKERS=str(request.param),
    ) as found:
        yield found


def test_no_limit_is_exceeded_at_any_address(served: Ostiary) -> None:
    """P10 breaks: some window has more accepted requests than the limit allows."""
    account = served.call(
        "POST", "/v1/service-accounts", {"display_name": "Fast", "roles": [{"role": "developer"}]}
    ).json()["service_account"]["id"]
    cells = []
    for limit in LIMITS:
        for address in ADDRESSES:
            made = served.call(
                "POST",
                f"/v1/service-accounts/{account}/credentials",
                {"kind": "api_key", "rate_limit": limit},
            ).json()
            cells.append(Cell(limit, address, made["secret"]))
    with ThreadPoolExecutor(len(cells)) as threads:
        list(threads.map(lambda cell: cell.run(served), cells))
    workers = int(served.environment["OSTIARY_WORKERS"])
    # When time is short, the unused part of other workers' leases may be missing at first.
    held = (workers - 1) * 15
    processes = "1 process" if workers == 1 else f"{workers} processes"
    for cell in cells:
        FIGURES[f"{cell.limit} a minute at {cell.address}, {processes}"] = (
            f"{len(cell.accepted):,} accepted of {len(cell.accepted) + cell.refused:,}, allowed {cell.allowed():,.1f}"
        )
        assert cell.refused > 0
        assert len(cell.accepted) <= cell.allowed(), cell
        assert cell.worst() <= 0
        assert len(cell.accepted) >= cell.limit - held
    if PROVE:
        FIGURES[f"windows that held more than allowed, {processes}"] = 0
        prove("P10", "a rate limit is never exceeded", SEED, FIGURES)


def test_bad_keys_of_one_address_cost_few_look_ups(served: Ostiary) -> None:
    """R15 breaks: each of thousands of unknown keys causes a database query."""
    with Line(served.port, served.key) as line:
        good = served.call("POST", "/v1/api-keys", {}).json()["secret"]
        assert line.ask("GET", "/v1/capabilities", key=good).status == 200
        began = time.time()
        answers = [
            line.ask("GET", "/v1/capabilities", key=unknown(number + 1)).status for number in range(BAD_KEYS)
        ]
        took = time.time() - began
        assert answers.count(401) + answers.count(429) == BAD_KEYS
        # Each 401 is a query, each 429 is not.
        assert answers.count(401) <= FAILURES + FAILURES * took / 60
        assert line.ask("GET", "/v1/capabilities", key=good).status == 200
