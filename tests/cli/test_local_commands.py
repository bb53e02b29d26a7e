"""CLI: the owner of the machine sets up, starts, checks and recovers an installation."""

import json
import signal
import socket
import stat
from pathlib import Path

import pytest

from ostiary.cli.main import run
from tests import servers
from tests.servers import free_port, initialise, ostiary, run_command


def test_init_shows_everything_once_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: `init` does not show password and key once, the next commands, or makes files others can read."""
    data = tmp_path / "data"
    begin = ["init", "--data", str(data), "--organization", "Acme", "--email", "alice@acme.test"]
    assert run([*begin, "--port", "8099"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "Organization  Acme (org_",
        "Admin         alice@acme.test",
        "Password",
        "Operator key  ak-",
    ):
        assert line in shown
    for command in ("export OSTIARY_URL=http://localhost:8099", "ostiary service-account create", "curl -H"):
        assert command in shown
    assert shown.strip().splitlines()[-1] == f"Start the service: ostiary serve --data {data} --port 8099"
    assert [path for path in data.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert run(begin) == 2
    again = capsys.readouterr()
    assert f"`ostiary init --recover --data {data}`" in again.err
    assert again.out == ""


@pytest.mark.full
def test_a_recovered_key_opens_what_was_begun(tmp_path: Path) -> None:
    """CLI breaks: `init --json` has another shape, or `--recover` gives a key that is not the admin's."""
    data = tmp_path / "data"
    first = initialise(data)
    assert set(first) >= {"organization", "admin", "api_key"}
    assert set(first["admin"]) >= {"email", "password"}
    second = json.loads(run_command("init", "--recover", "--data", str(data), "--json").stdout)
    assert second["organization"] == first["organization"]
    assert second["admin"]["password"] != first["admin"]["password"]
    with ostiary(data, second) as service:
        for each in (first, second):
            found = json.loads(service.command("whoami", "--json", OSTIARY_API_KEY=each["api_key"]).stdout)
            assert found["principal"]["id"] == first["admin"]["id"]


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "--organization NAME and --email EMAIL"),
        (["--organization", "Acme"], "--email"),
        (["--organization", " ", "--email", "a@b.test"], "--organization must not be blank"),
        (["--organization", "Acme", "--email", "alice"], "--email must be an email address"),
        (["--recover", "--email", "a@b.test"], "--recover cannot be combined with"),
    ],
    ids=["nothing", "half", "blank", "email", "recover"],
)
def test_a_wrong_beginning_leaves_nothing(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: `init` with wrong names is not exit 2, or makes half an installation."""
    assert run(["init", "--data", str(tmp_path / "data"), *options]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exists", [False, True], ids=["no directory", "empty directory"])
def test_serve_without_an_installation_shows_the_init_line(
    exists: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: `serve` on an empty data directory does not exit with 2 and the `init` command."""
    data = tmp_path / "data"
    if exists:
        data.mkdir(mode=0o700)
    assert run(["serve", "--data", str(data)]) == 2
    shown = capsys.readouterr().err
    assert f"ostiary init --data {data} --organization NAME --email EMAIL" in shown
    assert list(tmp_path.glob("data/*")) == []


@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_serve_says_where_and_ends_in_peace(how: signal.Signals, tmp_path: Path) -> None:
    """CLI breaks: `serve` prints more than its URL, or a signal does not end it with 0 and no traceback."""
    with ostiary(tmp_path / "data") as service:
        service.process.send_signal(how)
        assert service.process.wait(servers.PATIENCE) == 0
        assert service.log.read_text() == f"Ostiary is ready at http://localhost:{service.port}\n"


@pytest.mark.parametrize("number", ["٣", "0", "-1", "1_0", "1.5", "1e1", ""])
@pytest.mark.parametrize("option", ["--workers", "--port"])
def test_a_number_is_written_in_plain_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, number: str
) -> None:
    """P23 breaks: an option is read differently than the same setting in a file."""
    assert run(["serve", "--data", str(tmp_path / "data"), option, number]) == 2
    error = capsys.readouterr().err
    assert option in error
    assert "does not exist" not in error


@pytest.mark.full
def test_serve_on_a_taken_port_is_a_wrong_configuration(tmp_path: Path) -> None:
    """P23 breaks: for a port in use, `serve` does not exit with 2 and the option that chooses another."""
    data = tmp_path / "data"
    initialise(data)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_command("serve", "--data", str(data), "--port", port, code=2)
    assert "is in use; choose another with --port" in done.stderr
    assert done.stdout == ""


def test_doctor_finds_a_sound_house_and_an_open_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: `doctor` is silent about files that others can read, or exits as if all were well."""
    data = tmp_path / "data"
    doctor = ["doctor", "--data", str(data)]
    assert run([*doctor, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["state"] == "wrong"
    assert run(["init", "--data", str(data), "--organization", "Acme", "--email", "alice@acme.test"]) == 0
    capsys.readouterr()
    assert run(doctor) == 0
    assert "✓ Database" in capsys.readouterr().out
    (data / "ostiary.db").chmod(0o644)
    assert run(doctor) == 1
    assert "chmod 600" in capsys.readouterr().out


def test_migrate_again_is_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """P21 breaks: `migrate` on a database that is up to date changes it or fails."""
    data = tmp_path / "data"
    assert run(["init", "--data", str(data), "--organization", "Acme", "--email", "alice@acme.test"]) == 0
    capsys.readouterr()
    assert run(["migrate", "--data", str(data)]) == 0
    assert "up to date" in capsys.readouterr().out
    assert run(["migrate", "--data", str(data), "--json"]) == 0
    versions = json.loads(capsys.readouterr().out)
    assert versions["before"] == versions["after"]


@pytest.mark.promise("P7")
def test_config_tells_where_each_setting_comes_from_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """P7 breaks: `config` prints a password or a master key, or not which source won."""
    file = tmp_path / "ostiary.toml"
    file.write_text('key_prefix = "fromfile"\nlog_format = "json"\n')
    monkeypatch.setenv("OSTIARY_DATABASE_URL", "postgresql://ostiary:hunter2@db.test/ostiary")
    monkeypatch.setenv("OSTIARY_MASTER_KEY", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    monkeypatch.setenv("OSTIARY_KEY_PREFIX", "fromenv")
    for as_json in ([], ["--json"]):
        assert run(["config", "--config", str(file), "--data", str(tmp_path), *as_json]) == 0
        shown = capsys.readouterr().out
        assert "hunter2" not in shown
        assert "QUFBQUFB" not in shown
    found = json.loads(shown)
    assert found["data"] == {"setting": "OSTIARY_DATA", "value": str(tmp_path), "source": "--data"}
    assert (found["key_prefix"]["value"], found["key_prefix"]["source"]) == ("fromenv", "environment")
    assert (found["log_format"]["value"], found["log_format"]["source"]) == ("json", str(file))
    assert (found["database_url"]["value"], found["master_key"]["value"]) == ("***", "***")


def test_a_database_that_is_down_is_not_reachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: a database that does not answer is not exit 3, or its password is shown."""
    monkeypatch.setenv(
        "OSTIARY_DATABASE_URL", f"postgresql://ostiary:hunter2@127.0.0.1:{free_port()}/ostiary"
    )
    monkeypatch.setenv("OSTIARY_MASTER_KEY", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    assert run(["migrate", "--data", str(tmp_path)]) == 3
    assert run(["serve", "--data", str(tmp_path)]) == 3
    shown = capsys.readouterr()
    assert "nothing accepts connections" in shown.err
    assert "hunter2" not in shown.err + shown.out


def test_a_busy_port_is_found_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: `init` prints secrets for a service that cannot start on the requested port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        begin = [
            "init",
            "--data",
            str(tmp_path / "data"),
            "--organization",
            "Acme",
            "--email",
            "alice@acme.test",
        ]
        assert run([*begin, "--port", port]) == 2
    shown = capsys.readouterr()
    assert (shown.out, "is in use; choose another with --port" in shown.err) == ("", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode, warned", [(0o600, False), (0o640, False), (0o604, True)])
def test_a_secret_file_that_others_can_read_is_named(
    mode: int,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """P7 breaks: the master key or the database's password can be read by every user, and nothing says so."""
    key, url, toml = (tmp_path / name for name in ("master key", "url", "ostiary.toml"))
    key.write_text("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    url.write_text("postgresql://ostiary:hunter2@db.test/ostiary")
    toml.write_text(f'master_key = "{key.read_text()}"\n')
    for file in (key, url, toml):
        file.chmod(mode)
    monkeypatch.setenv("OSTIARY_DATABASE_URL_FILE", str(url))
    config = ["config", "--data", str(tmp_path), "--config", str(toml)]
    assert run(config) == 0
    first = capsys.readouterr().err
    monkeypatch.setenv("OSTIARY_MASTER_KEY_FILE", str(key))
    assert run(config) == 0
    second = capsys.readouterr().err
    assert (f"`chmod 600 {toml}`" in first, f"`chmod 600 {url}`" in first) == (warned, warned)
    # The variable's key is used, not that of the TOML file. A quoted command can be pasted.
    assert (f"`chmod 600 '{key}'`" in second, str(toml) in second) == (warned, False)
