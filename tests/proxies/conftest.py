"""Each proxy in front of a service that remembers, with one real Ostiary behind all of them."""

from collections.abc import Iterator

import pytest

from tests.conftest import unavailable
from tests.proxies import stage
from tests.proxies.stage import PROXIES, RULE, Door
from tests.servers import Ostiary, UnavailableError


@pytest.fixture(scope="module", params=list(PROXIES))
def door(request: pytest.FixtureRequest, service: Ostiary) -> Iterator[Door]:
    assert service.call("PUT", "/v1/access-rules/agents", RULE).is_success
    try:
        with (
            stage.player(stage.serve) as behind,
            stage.proxy(request.param, service.port, behind.port) as port,
        ):
            behind.seen.clear()
            yield Door(request.param, port, behind, service)
    except UnavailableError as error:
        unavailable(error)


@pytest.fixture(scope="module")
def robo(door: Door) -> tuple[str, str]:
    """An account, and its key that may do nothing but read agents."""
    account = door.account("Robo")
    return account, door.key(account, scopes=["read:agents"])
