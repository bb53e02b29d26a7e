"""The setup for the tests of RFC clauses: the whole service, with Robo as a client."""

import pytest

from ostiary.core.model import OAuthClient
from tests.applications import application
from tests.cast import Front
from tests.machines import Machine, machine
from tests.visitors import Browser, at_home


@pytest.fixture
def robo(front: Front) -> Machine:
    """A client with the permissions of a developer. All signing keys are active."""
    front.house.sign()
    return machine(front)


@pytest.fixture
def other(front: Front) -> Machine:
    """Another client of the same organization."""
    return machine(front, "Other")


@pytest.fixture
def stranger(front: Front) -> Machine:
    """A client of another organization."""
    return machine(front, "Stranger", front.house.charlie)


@pytest.fixture
def reports(front: Front) -> OAuthClient:
    """A public client to which people consent. All signing keys are active."""
    front.house.sign()
    return application(front.house)


@pytest.fixture
def alice(front: Front) -> Browser:
    """Alice at a browser, signed in."""
    return at_home(front.house, front, front.house.alice)
