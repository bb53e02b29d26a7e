"""Each proxy in front of a service that records its requests. One real Ostiary is behind all of them."""

from collections.abc import Iterator

import pytest

from tests.cast import SEED
from tests.conftest import PROVE, unavailable
from tests.promises.line import prove
from tests.proxies import stage
from tests.proxies.stage import PROXIES, RULE, Door
from tests.servers import Ostiary, UnavailableError


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, int]]]:
    """The figures of this run, by proxy. A full run of all proxies writes them to a page."""
    found: dict[str, dict[str, int]] = {name: {} for name in PROXIES}
    yield found
    if PROVE and all(found.values()) and not request.session.testsfailed:
        title = "forward-auth judges the request that is served; identity comes from Ostiary or not at all"
        page = {
            f"{name} {stage.version(name)}: {what}": figure
            for name, counted in found.items()
            for what, figure in counted.items()
        }
        prove("P15", title, SEED, page | {"escapes": 0})


@pytest.fixture(scope="module", params=list(PROXIES))
def door(
    request: pytest.FixtureRequest, service: Ostiary, figures: dict[str, dict[str, int]]
) -> Iterator[Door]:
    assert service.call("PUT", "/v1/access-rules/agents", RULE).is_success
    try:
        with (
            stage.player(stage.serve) as behind,
            stage.proxy(request.param, service.port, behind.port) as port,
        ):
            behind.seen.clear()
            yield Door(request.param, port, behind, service, figures[request.param])
    except UnavailableError as error:
        unavailable(error)


@pytest.fixture(scope="module")
def robo(door: Door) -> tuple[str, str]:
    """An account, and its key with the scope read:agents only."""
    account = door.account("Robo")
    return account, door.key(account, scopes=["read:agents"])
