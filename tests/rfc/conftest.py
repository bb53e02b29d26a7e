"""What the RFCs' clauses are tried on: the whole service, with Robo as a client."""

import pytest

from tests.cast import Front
from tests.machines import Machine, machine


@pytest.fixture
def robo(front: Front) -> Machine:
    """A client that may do all that a developer may; every signing key signs."""
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
