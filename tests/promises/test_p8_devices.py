"""P8: a device code is redeemed once, however many requests present it concurrently, over all processes and nodes.

Both databases are tested. If several requests present a code, all but one reuse it, and no token of it stays valid.
"""

import socket
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from ostiary.config import Settings
from ostiary.core import user_code
from ostiary.core.event import Actor
from ostiary.core.oauth import BUILT_IN, CLI
from ostiary.core.permission import Caller
from ostiary.node import installation
from ostiary.services import devices
from ostiary.storage.store import Store
from tests.conftest import PROVE
from tests.devices import GRANT
from tests.promises.line import Line, assert_ended, prove
from tests.promises.test_p8_assertions import at_once, nodes
from tests.servers import PATIENCE, Ostiary

__all__ = ["nodes"]  # a fixture

pytestmark = [pytest.mark.promise("P8"), pytest.mark.full]

CODES = 300 if PROVE else 5
SEED = 20_261_122
FIGURES: dict[str, object] = {}
AT_ONCE = 50


def allowed(store: Store, person: Caller) -> str:
    """A device code that a person has allowed."""
    asked = devices.DeviceRequest(CLI, ("api", "offline_access"), (), "203.0.113.7", "")
    begun = store.write_on((), devices.begin, asked)
    code = user_code.read(begun.user_code)
    assert code is not None
    assert not isinstance(store.write(devices.claim, person, code), str)
    home = person.organization_id
    assert store.write_on((home,), devices.approve, person, code, BUILT_IN[CLI], home)
    return begun.device_code.reveal()


def store_of(node: Ostiary, stack: ExitStack) -> tuple[Store, Caller]:
    """The database of a node, and its operator."""
    named = {
        name.removeprefix("OSTIARY_").lower(): value
        for name, value in node.environment.items()
        if name in {"OSTIARY_DATABASE_URL", "OSTIARY_MASTER_KEY", "OSTIARY_ISSUER"}
    }
    opened = installation.open_installation(Settings.model_validate({"data": node.data, **named}))
    stack.callback(opened.close)
    who = node.call("GET", "/v1/capabilities").json()
    person = Caller(Actor("user", who["principal"]["id"], "alice"), who["organization"]["id"], frozenset())
    return opened.store, person


def test_one_of_all_who_show_a_device_code_at_once_wins(
    nodes: list[Ostiary],
    request: pytest.FixtureRequest,
) -> None:
    """P8 breaks: a device code gives two logins, or a code that several requests present leaves a login."""
    statuses: Counter[str] = Counter()
    winners: Counter[int] = Counter()
    with ExitStack() as stack:
        line = stack.enter_context(Line(nodes[0].port, nodes[0].key))
        store, person = store_of(nodes[0], stack)
        sockets = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", nodes[number % len(nodes)].port), timeout=PATIENCE)
            )
            for number in range(AT_ONCE)
        ]
        for _ in range(CODES):
            form = {"grant_type": GRANT, "device_code": allowed(store, person), "client_id": CLI}
            answers: list[tuple[int, Any]] = at_once(sockets, form)
            statuses.update(
                f"{status} {body['error']}" if status != 200 else "200" for status, body in answers
            )
            won = [body["access_token"] for status, body in answers if status == 200]
            winners[len(won)] += 1
            # The other requests reused the code, which revoked the session.
            for text in won:
                assert_ended(line, text, len(nodes))
    print(
        f"{CODES} device codes, {AT_ONCE} at once, {len(nodes)} nodes: {dict(statuses)}; winners {dict(winners)}"
    )
    engine = request.node.callspec.id
    FIGURES[f"device codes, {engine}"] = CODES
    FIGURES[f"requests, {engine}"] = CODES * AT_ONCE
    FIGURES[f"winners, {engine}"] = sum(count * number for count, number in winners.items())
    FIGURES[f"live tokens afterwards, {engine}"] = 0
    FIGURES[f"nodes of two processes, {engine}"] = len(nodes)
    FIGURES[f"answers in the 500s, {engine}"] = sum(
        number for status, number in statuses.items() if status.startswith("5")
    )
    if PROVE:
        prove("P8-devices", "a device code is used once", SEED, FIGURES)
    assert winners == {1: CODES}
    assert set(statuses) == {"200", "400 invalid_grant"}
