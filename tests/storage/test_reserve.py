"""The disk reserve: used to end access, kept from everything else, and restored."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ostiary.core.instant import HOUR
from ostiary.core.model import Token
from ostiary.services import credentials, service_accounts, tokens
from ostiary.services.service_accounts import AccountSpec
from ostiary.storage.reserve import HEAD, STEP, Reserve
from tests.cast import House
from tests.services.questions import events, refused

pytestmark = pytest.mark.promise("P1")

SIZE = 8 * STEP


@pytest.fixture
def reserve(tmp_path: Path) -> Reserve:
    found = Reserve(tmp_path / "disk.reserve", SIZE)
    found.restore()
    return found


def test_it_is_made_of_blocks(reserve: Reserve) -> None:
    """P1 breaks: the reserve has no disk blocks, so that there is no space when it is needed."""
    assert reserve.path is not None
    assert reserve.path.stat().st_blocks * 512 >= SIZE
    os.truncate(reserve.path, 0)
    os.truncate(reserve.path, SIZE)  # like a sparse copy: full length, but without blocks
    reserve.restore()
    assert reserve.path.stat().st_blocks * 512 >= SIZE


def test_it_is_given_up_by_steps(reserve: Reserve) -> None:
    """P1 breaks: at the first revocation the whole reserve goes to the program that fills the disk."""
    assert reserve.give_up()
    assert (reserve.left(), reserve.missing()) == (SIZE - HEAD - STEP, STEP)
    assert reserve.give_up(1)
    assert reserve.missing() == 3 * STEP
    assert reserve.give_up(10)
    assert (reserve.left(), reserve.give_up()) == (0, False)
    assert not reserve.has_room()
    reserve.restore()
    assert (reserve.missing(), reserve.has_room()) == (0, True)


def test_commands_need_not_know_its_size(reserve: Reserve) -> None:
    """P1 breaks: a command without the service's setting misjudges whether the reserve is complete."""
    for size in (0, SIZE // 2, SIZE * 2):
        assert Reserve(reserve.path, size).has_room()
    assert reserve.give_up()
    for size in (0, SIZE // 2, SIZE * 2):
        assert not Reserve(reserve.path, size).has_room()
    smaller = Reserve(reserve.path, SIZE // 2)
    smaller.restore()
    assert (smaller.left(), smaller.has_room()) == (SIZE // 2 - HEAD, True)


def test_it_can_be_done_without(tmp_path: Path, reserve: Reserve) -> None:
    """P11 breaks: a service without a reserve, or a command before the first start, cannot write."""
    assert reserve.path is not None
    assert Reserve(tmp_path / "never made", SIZE).has_room()
    none = Reserve(reserve.path, 0)
    none.restore()
    assert not reserve.path.exists()
    assert (none.has_room(), none.give_up(), Reserve().has_room()) == (True, False, True)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """P7 breaks: a link in the data directory makes the service fill a file elsewhere."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "link").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic link"):
        Reserve(tmp_path / "link", SIZE).restore()
    assert precious.read_text() == "precious"


def test_while_it_is_given_up_only_ends_of_access_are_written(sqlite_house: House, reserve: Reserve) -> None:
    """P1, P5 break: other changes use up the rest of the reserve, or a revocation is refused."""
    house = replace(sqlite_house, store=replace(sqlite_house.store, reserve=reserve))
    account = house.account()
    key, other = house.key(account).listed.credential.id, house.key(account).listed.credential.id
    reserve.give_up()
    before = len(events(house))
    with refused("storage-full"):
        house.store.write(service_accounts.create, house.alice, AccountSpec("New"))
    with refused("storage-full"):
        house.store.write(credentials.update, house.alice, key, {"name": "New"})
    assert len(events(house)) == before
    house.store.write(credentials.revoke, house.alice, key)
    house.store.write(credentials.revoke, house.alice, key)  # already revoked, so nothing is written
    house.store.write(service_accounts.set_disabled, house.alice, account.account.id, True)
    with refused("storage-full"):
        house.store.write(service_accounts.set_disabled, house.alice, account.account.id, False)
    reserve.restore()
    house.store.write(service_accounts.set_disabled, house.alice, account.account.id, False)
    house.store.write(credentials.revoke, house.alice, other)


def test_tokens_leave_half_of_it_to_what_is_bounded(sqlite_house: House, reserve: Reserve) -> None:
    """P1 breaks: an organization that revokes one token after the other leaves no room to revoke a stolen key."""
    house = replace(sqlite_house, store=replace(sqlite_house.store, reserve=reserve))
    key = house.key(house.account()).listed.credential.id

    def token(jti: str) -> Token:
        now = house.clock()
        return Token("access_token", jti, key, frozenset(), (), "app", now, now + HOUR)

    for step in range(SIZE // STEP // 2 - 1):
        assert reserve.give_up()
        house.store.write(tokens.revoke, house.alice, token(f"early-{step}"))
    reserve.give_up()
    with refused("storage-full"):
        house.store.write(tokens.revoke, house.alice, token("late"))
    house.store.write(credentials.revoke, house.alice, key)
