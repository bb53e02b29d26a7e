"""`ostiary import`, its dry run and its counts."""

from hashlib import sha256
from pathlib import Path

import pytest

from ostiary.cli.main import run
from ostiary.config import Settings
from ostiary.node.installation import open_installation, remember
from ostiary.services import installation, service_accounts
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.service_accounts import AccountSpec
from tests import servers

PAST, FUTURE = "2020-01-01", "2099-01-01"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with the account `old`."""
    servers.initialise(tmp_path / "data")
    opened = remember(open_installation(Settings.model_validate({"data": tmp_path / "data"})))
    alice = opened.store.read(installation.local_operator, SYSTEM_CALLER, None)
    opened.store.write(service_accounts.create, alice, AccountSpec("Old"))
    opened.close()
    return tmp_path / "data"


def write_keys(path: Path, *rows: tuple[str, str]) -> Path:
    lines = [f"{sha256(name.encode()).hexdigest()},{expires_at}" for name, expires_at in rows]
    path.write_text("\n".join(["sha256,expires_at", *lines]))
    return path


def import_keys(data: Path, file: Path, *more: str) -> int:
    return run(
        ["import", str(file), "--data", str(data), "--service-account", "old", "--prefix", "sk_", *more]
    )


def test_a_dry_run_says_what_the_import_then_does(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Import breaks: a person learns of skipped keys halfway through the import, or never."""
    file = write_keys(tmp_path / "keys.csv", ("a", FUTURE), ("b", PAST), ("a", FUTURE), ("c", ""))
    counts = (
        "2 keys {} for Old.\n1 skipped: they are in the file more than once.\n1 skipped: they have expired.\n"
    )
    assert import_keys(data, file, "--register", "--dry-run") == 0
    dry = "This was a dry run. Nothing was changed.\n"
    assert capsys.readouterr().out == counts.format("would be imported") + dry
    assert import_keys(data, file, "--dry-run") == 1  # it did not register the prefix
    assert "--register" in capsys.readouterr().err
    assert import_keys(data, file, "--register") == 0
    assert capsys.readouterr().out == counts.format("imported")
    assert import_keys(data, file) == 0
    assert "3 skipped: they exist already.\n" in capsys.readouterr().out


def test_a_limit_of_number_is_found_before_anything_is_imported(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Import breaks: an import stops after its first batches and cannot be resumed."""
    file = write_keys(tmp_path / "keys.csv", *((str(number), FUTURE) for number in range(11)))
    for more in (("--dry-run",), ()):
        assert import_keys(data, file, "--register", *more) == 1
        assert "--exceed-limits" in capsys.readouterr().err
    assert import_keys(data, file, "--register", "--exceed-limits") == 0
    assert capsys.readouterr().out == "11 keys imported for Old.\n"


def test_keys_that_the_policy_does_not_allow_are_left_out_and_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits break: one key stops an import, or an imported key lives longer than the policy allows."""
    monkeypatch.setenv("OSTIARY_DEFAULT_MAX_CREDENTIAL_LIFETIME", "90d")
    monkeypatch.setenv("OSTIARY_DEFAULT_CREDENTIAL_LIFETIME", "30d")
    file = write_keys(tmp_path / "keys.csv", ("a", FUTURE), ("b", ""))
    for more in (("--dry-run",), ()):
        assert import_keys(data, file, "--register", *more) == 1
        told = capsys.readouterr()
        assert "1 skipped: the policy does not allow their lifetime." in told.out
        assert "max_credential_lifetime" in told.err
