"""Mapped files: every page has disk space, no link is followed, and no file is shortened while it is mapped."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ostiary.ratelimit.mapped_store import MappedRateLimitStore
from ostiary.storage.fact_cache import ChangeNumber
from ostiary.storage.mapped import map_file
from tests.cast import NOON
from tests.conftest import unavailable
from tests.servers import PATIENCE, UnavailableError

pytestmark = pytest.mark.promise("P11")

KEY = b"k" * 32


def test_each_page_has_its_room_on_the_disk(tmp_path: Path) -> None:
    """P11 breaks: on a full disk the first use of a page kills the worker (SIGBUS)."""
    # As an older version created it.
    for name, size in (("number", 8), ("permits", 65_536 * 16)):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
    ChangeNumber(tmp_path / "number").close()
    MappedRateLimitStore(tmp_path / "permits", KEY).close()
    for name in ("number", "permits"):
        found = (tmp_path / name).stat()
        assert found.st_blocks * 512 >= found.st_size > 0


FULL = """
import sys
from pathlib import Path
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
from ostiary.storage.fact_cache import ChangeNumber
disk = Path(sys.argv[1])
ballast = open(disk / "ballast", "wb", buffering=0)
ChangeNumber(disk / "early")
try:
    while ballast.write(bytes(4096)):
        pass
except OSError as error:
    print(error.strerror)
ChangeNumber(disk / "early").renew()
for made in (
    lambda: ChangeNumber(disk / "late").renew(),
    lambda: MappedRateLimitStore(disk / "permits", bytes(32)).take("key", 1, 1),
):
    try:
        made()
    except OSError as error:
        print(error.strerror)
"""


def test_a_full_disk_is_an_error_and_no_signal(tmp_path: Path) -> None:
    """P11 breaks: a full disk kills the workers instead of raising an error."""
    mounted = 'mount -t tmpfs -o size=64k tmpfs "$0"'
    if subprocess.run(["unshare", "-m", "sh", "-c", mounted, tmp_path], capture_output=True).returncode:
        unavailable(UnavailableError("a small disk can be mounted by root only"))
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mounted} && exec "$1" -c "$2" "$0"', tmp_path, sys.executable, FULL],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [os.strerror(errno.ENOSPC)] * 3


def test_links_are_not_followed(tmp_path: Path) -> None:
    """P7 breaks: a link in the data directory makes the service write to a file elsewhere."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "link").symlink_to(precious)
    with pytest.raises(OSError) as raised:
        map_file(tmp_path / "link", 8)
    assert raised.value.errno == errno.ELOOP
    assert precious.read_text() == "precious"


def test_a_table_of_another_size_is_not_cut(tmp_path: Path) -> None:
    """P11 breaks: a command of another version shortens the table that workers have mapped, which kills them."""
    running = MappedRateLimitStore(tmp_path / "permits", KEY)
    size = (tmp_path / "permits").stat().st_size
    MappedRateLimitStore(tmp_path / "permits", KEY, 8).close()
    assert (tmp_path / "permits").stat().st_size == size
    for number in range(100):
        assert running.take(f"key {number}", 1, NOON).allowed
    assert not running.take("key 0", 1, NOON).allowed
    running.close()


def test_a_table_that_is_too_short_grows(tmp_path: Path) -> None:
    """P11 breaks: after an upgrade to a longer table, nothing starts."""
    MappedRateLimitStore(tmp_path / "permits", KEY, 8).close()
    grown = MappedRateLimitStore(tmp_path / "permits", KEY)
    assert all(grown.take(f"key {number}", 1, NOON).allowed for number in range(100))
    grown.close()
