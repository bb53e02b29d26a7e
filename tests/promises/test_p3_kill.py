"""P3: acknowledged changes survive `kill -9`.

Writers create, deactivate, activate, revoke and delete keys over HTTP while the server is killed at seeded moments.
Each key belongs to one writer, so its acknowledged changes are a sequence. One more change may have been in flight at
the kill, and may or may not have happened. After each restart the test verifies every key, and compares its audit
events.
"""

import http.client
import os
import random
import sqlite3
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ostiary.data_directory import DATABASE_FILE
from ostiary.storage.engines import sqlite_module
from tests import servers
from tests.cast import SEED
from tests.conftest import PROVE
from tests.promises.line import Line, prove
from tests.servers import Ostiary

pytestmark = [pytest.mark.promise("P3"), pytest.mark.full]

KILLS = int(os.environ.get("OSTIARY_PROVE_KILLS", "220" if PROVE else "3"))
WRITES_A_KILL = int(os.environ.get("OSTIARY_PROVE_WRITES", "250" if PROVE else "60"))
WRITERS = 6
ENVIRONMENT = {
    "OSTIARY_WORKERS": "2",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT": "none",
    "OSTIARY_DEFAULT_DELETION_DELAY": "0",
    "OSTIARY_DEFAULT_RATE_LIMIT": "none",
}

STEPS = {
    "active": ("deactivate", "deactivate", "revoke", "delete"),
    "deactivated": ("activate", "activate", "revoke", "delete"),
    "revoked": ("delete",),
}
"""The operations of a writer. An operation that is listed twice is twice as likely."""
STATE = {
    "create": "active",
    "deactivate": "deactivated",
    "activate": "active",
    "revoke": "revoked",
    "delete": "deleted",
}
EVENT = {
    "credential.created": "create",
    "credential.deactivated": "deactivate",
    "credential.activated": "activate",
    "credential.revoked": "revoke",
    "credential.deleted": "delete",
}
VERDICT = {"active": "valid", "deactivated": "deactivated", "revoked": "revoked", "deleted": "unknown"}


@dataclass(slots=True)
class Key:
    """A writer's view of a key: the acknowledged operations in order, and the last request."""

    id: str
    secret: str
    done: list[str] = field(default_factory=lambda: ["create"])
    asked: str = ""

    @property
    def state(self) -> str:
        return STATE[self.done[-1]]

    def possible(self) -> list[list[str]]:
        """Return the histories that agree with the acknowledged operations."""
        stories = [self.done]
        if self.asked:
            stories.append([*self.done, self.asked])
        return stories


class Writers:
    """Threads that write until the server goes away. `acknowledged` counts success responses."""

    def __init__(self, server: Ostiary, account: str, seed: int) -> None:
        self.keys: list[Key] = []
        self.acknowledged = 0
        self.unexpected: list[str] = []
        self._server = server
        self._account = account
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._write, args=(random.Random(seed + number),))
            for number in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, number: int) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: self.acknowledged >= number or self.unexpected, 60)
        assert done, f"only {self.acknowledged} writes were acknowledged in a minute"

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _write(self, rng: random.Random) -> None:
        try:
            with Line(self._server.port, self._server.key) as line:
                while self._one_key(line, rng):
                    pass
        except (OSError, http.client.HTTPException):
            pass  # the kill: a request without response stays recorded

    def _one_key(self, line: Line, rng: random.Random) -> bool:
        reply = line.ask("POST", f"/v1/service-accounts/{self._account}/credentials", {"kind": "api_key"})
        if not self._acknowledge(reply.status, 201, "create"):
            return False
        made = reply.json()
        key = Key(made["credential"]["id"], made["secret"])
        self.keys.append(key)
        for _ in range(rng.randrange(5)):
            if key.state not in STEPS:
                break
            key.asked = rng.choice(STEPS[key.state])
            address = f"/v1/credentials/{key.id}"
            if key.asked == "delete":
                status, wanted = line.ask("DELETE", address).status, 204
            else:
                status, wanted = line.ask("POST", f"{address}/{key.asked}").status, 200
            if not self._acknowledge(status, wanted, key.asked):
                return False
            key.done.append(key.asked)
            key.asked = ""
        return True

    def _acknowledge(self, status: int, wanted: int, what: str) -> bool:
        with self._changed:
            if status == wanted:
                self.acknowledged += 1
            else:
                self.unexpected.append(f"{what}: {status}")
            self._changed.notify()
        return status == wanted


def stories(data: Path, keys: Iterable[Key], after: int) -> tuple[dict[str, list[str]], int]:
    """Return the history of each key in the audit log after event `after`, and the id of the last event."""
    found: dict[str, list[str]] = {key.id: [] for key in keys}
    connection: sqlite3.Connection = sqlite_module.connect(data / DATABASE_FILE)
    try:
        last = after
        rows = connection.execute(
            "SELECT seq, action, target_id FROM audit_events WHERE seq > ? ORDER BY seq", (after,)
        )
        for seq, action, target in rows:
            last = seq
            if action in EVENT and target in found:
                found[target].append(EVENT[action])
    finally:
        connection.close()
    return found, last


def told(story: list[str]) -> list[str]:
    """Return a history as the audit log has it: deletion revokes a key that is not revoked."""
    if story[-1] == "delete" and story[-2] != "revoke":
        return [*story[:-1], "revoke", "delete"]
    return story


def verdicts(server: Ostiary, keys: list[Key]) -> list[str]:
    """Return the verdict on each key, over several connections."""

    def some(part: int) -> dict[int, str]:
        with Line(server.port, server.key) as line:
            return {number: line.verify(keys[number].secret) for number in range(part, len(keys), WRITERS)}

    with ThreadPoolExecutor(WRITERS) as pool:
        codes = {number: code for part in pool.map(some, range(WRITERS)) for number, code in part.items()}
    return [codes[number] for number in range(len(keys))]


def lost(keys: list[Key], codes: list[str], events: dict[str, list[str]]) -> list[str]:
    """Return the keys whose verdict or audit log differs from the acknowledged state, or whose two differ."""
    return [
        f"{key.id}: acknowledged {key.done}, in flight {key.asked or 'nothing'}; verdict {code}, log {events[key.id]}"
        for key, code in zip(keys, codes, strict=True)
        if not any(
            code == VERDICT[STATE[story[-1]]] and events[key.id] == told(story) for story in key.possible()
        )
    ]


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """P3 breaks: an acknowledged key, revocation or audit event is lost after a kill."""
    rng = random.Random(SEED)
    data = tmp_path / "data"
    first = servers.initialise(data, **ENVIRONMENT)
    port = servers.free_port()
    server = servers.start(data, first, port, **ENVIRONMENT)
    every: list[Key] = []
    acknowledged = unanswered = happened = last = 0
    failures: list[str] = []
    try:
        with Line(port, server.key) as line:
            made = line.made(
                "/v1/service-accounts", {"display_name": "Robo", "roles": [{"role": "developer"}]}
            )
        for number in range(KILLS):
            writers = Writers(server, made["service_account"]["id"], SEED + number * WRITERS)
            writers.wait_for(WRITES_A_KILL)
            # A random moment within the next writes, so that it does not coincide with a response.
            threading.Event().wait(rng.uniform(0, 0.02))
            server.kill()
            writers.join()
            assert writers.unexpected == []
            server = servers.start(data, first, port, **ENVIRONMENT)
            events, last = stories(data, writers.keys, last)
            codes = verdicts(server, writers.keys)
            failures += [f"kill {number}: {each}" for each in lost(writers.keys, codes, events)]
            acknowledged += writers.acknowledged
            for key in writers.keys:
                unanswered += bool(key.asked)
                if key.asked and events[key.id] == told([*key.done, key.asked]):
                    key.done.append(key.asked)
                    happened += 1
                key.asked = ""
            every += writers.keys
        # A later kill may not lose what survived an earlier one.
        codes = verdicts(server, every)
        failures += [
            f"at the end: {key.id} is {code}, was {key.state}"
            for key, code in zip(every, codes, strict=True)
            if code != VERDICT[key.state]
        ]
    finally:
        server.kill()
    connection: sqlite3.Connection = sqlite_module.connect(data / DATABASE_FILE)
    integrity = connection.execute("PRAGMA integrity_check").fetchall()
    orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    connection.close()
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    print(
        f"seed {SEED}: {KILLS} kills, {acknowledged} acknowledged, {len(every)} keys {counts},"
        f" {unanswered} changes in flight, {happened} of them happened, {len(failures)} lost"
    )
    assert failures == []
    assert integrity == [("ok",)]
    assert orphans == []
    assert acknowledged >= KILLS * WRITES_A_KILL
    if PROVE:
        prove(
            "P3",
            "what was acknowledged survives `kill -9`",
            SEED,
            {
                "kills": KILLS,
                "acknowledged writes": acknowledged,
                "of them lost": len(failures),
                "keys": len(every),
            }
            | {f"keys that end as {code}": count for code, count in counts.items()}
            | {
                "changes in flight at a kill": unanswered,
                "of them had happened": happened,
                "integrity check": integrity[0][0],
            },
        )
