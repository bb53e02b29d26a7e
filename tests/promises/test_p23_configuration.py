"""P23: the service never starts with a bad configuration.

In each case the test itself listens on the port of the service. If the service started to listen, the error would be
about the port and not about the setting. Bad values contain a planted secret where possible.
"""

import base64
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ostiary.config import Settings
from ostiary.data_directory import DATABASE_FILE, MASTER_KEY_FILE, METRICS_DIRECTORY, NO_LINKS, USES_FILE
from ostiary.node.installation import open_installation, remember
from ostiary.services import imports, installation
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.storage.engines import sqlite_module
from tests import servers

pytestmark = [pytest.mark.promise("P23"), pytest.mark.full]

PLANTED = "hunter2correcthorse"
KEY = base64.b64encode(bytes(range(100, 132))).decode()
SHORT = base64.b64encode(bytes(range(100, 131))).decode()
POSTGRES = f"postgresql://alice:{PLANTED}@127.0.0.1:1/ostiary"


@dataclass(frozen=True, slots=True)
class Bad:
    """A configuration that must not start: its changes to a good one, and the expected error."""

    name: str
    key: str
    reason: str
    environment: dict[str, str] = field(default_factory=dict)
    toml: str | None = None
    arguments: tuple[str, ...] = ()
    spoil: Callable[[Path], object] = lambda data: None
    """A change to the data directory before the start."""


def env(name: str, variable: str, value: str, reason: str, **others: str) -> Bad:
    return Bad(name, variable, reason, {variable: value} | others)


def toml(name: str, key: str, text: str, reason: str) -> Bad:
    return Bad(name, key, reason, toml=text)


def flag(name: str, key: str, value: str, reason: str) -> Bad:
    return Bad(name, key, reason, arguments=(key, value))


def data(name: str, reason: str, spoil: Callable[[Path], object], key: str = "OSTIARY_DATA") -> Bad:
    return Bad(name, key, reason, spoil=spoil)


def write(name: str, text: str, mode: int = 0o600) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / name).write_text(text)
        (directory / name).chmod(mode)

    return spoil


def replace_by_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.write_text("")


def link_master_key(directory: Path) -> None:
    path = directory / MASTER_KEY_FILE
    path.rename(directory / "elsewhere")
    path.symlink_to(directory / "elsewhere")


def link(name: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        """A directory for `metrics` and a file for other paths, which the service would write to or empty."""
        elsewhere = directory / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "file").write_text("precious")
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(elsewhere if name == METRICS_DIRECTORY else elsewhere / "file")

    return spoil


def sql(statement: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        connection: sqlite3.Connection = sqlite_module.connect(directory / DATABASE_FILE)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return spoil


ISSUER, PROXIES, OUTBOUND, MASTER, DATABASE = (
    f"OSTIARY_{name}"
    for name in ("ISSUER", "TRUSTED_PROXIES", "OUTBOUND_HOSTS", "MASTER_KEY", "DATABASE_URL")
)

CASES = [
    # The socket
    flag("port zero", "--port", "0", "1"),
    flag("port beyond", "--port", "65536", "65535"),
    flag("port negative", "--port", "-1", "not negative"),
    flag("port a word", "--port", "http", "whole number"),
    toml("port a fraction", "--port", "port = 80.5", "whole number"),
    flag("host a name", "--host", "keys.example.com", "IP address"),
    flag("host with a zone", "--host", "fe80::1%eth0", "IP address"),
    flag("host with a port", "--host", "127.0.0.1:8080", "IP address"),
    toml("host a number", "--host", "host = 1", "string"),
    env("workers none", "OSTIARY_WORKERS", "0", "1"),
    env("workers absurd", "OSTIARY_WORKERS", "65", "64"),
    # The issuer
    env("issuer http", ISSUER, "http://keys.example.com", "https://"),
    env("issuer like loopback", ISSUER, "http://localhost.example.com", "https://"),
    env("issuer path", ISSUER, "https://keys.example.com/ostiary", "origin"),
    env("issuer query", ISSUER, f"https://keys.example.com?k={PLANTED}", "origin"),
    env("issuer userinfo", ISSUER, f"https://alice:{PLANTED}@keys.example.com", "URL"),
    env("issuer userinfo, odd host", ISSUER, f"https://alice:{PLANTED}@ke℀ys.example.com", "Punycode"),
    env("issuer no URL", ISSUER, "keys.example.com", "URL"),
    env("issuer half a bracket", ISSUER, "https://[::1", "URL"),
    env("issuer port", ISSUER, "https://keys.example.com:http", "port"),
    # Trusted proxies
    env("proxies host bits", PROXIES, "10.0.0.1/8", "host bits"),
    env("proxies too long a prefix", PROXIES, "10.0.0.0/33", "CIDR"),
    env("proxies leading zero", PROXIES, "010.0.0.1", "CIDR"),
    env("proxies a name", PROXIES, f"127.0.0.1, {PLANTED}", "entry 2"),
    toml("proxies a number", PROXIES, "trusted_proxies = 10", "addresses"),
    # Outbound hosts
    env("outbound a URL", OUTBOUND, f"https://idp.internal/{PLANTED}", "entry 1 is not a host"),
    env("outbound a path", OUTBOUND, f"idp.internal, other.internal/{PLANTED}", "entry 2"),
    env("outbound userinfo", OUTBOUND, f"alice:{PLANTED}@idp.internal", "entry 1"),
    env("outbound a wildcard", OUTBOUND, "*.internal", "entry 1"),
    env("outbound a range", OUTBOUND, "10.0.0.0/8", "entry 1"),
    env("outbound another form", OUTBOUND, "127.1", "entry 1"),
    env("outbound no brackets", OUTBOUND, "fd00::7", "[fd00::7]:8443"),
    env("outbound port", OUTBOUND, "idp.internal:65536", "entry 1"),
    toml("outbound a number", OUTBOUND, "outbound_hosts = 10", "list of hosts"),
    # Access to metrics
    env("metrics a name", "OSTIARY_METRICS", f"loopback, {PLANTED}", "entry 2"),
    env("metrics none beside", "OSTIARY_METRICS", "loopback,none", "entry 2 is not an IP address or CIDR range (or "),
    env("metrics host bits", "OSTIARY_METRICS", "10.0.0.1/8", "host bits"),
    env("metrics everybody in words", "OSTIARY_METRICS", "all", "CIDR"),
    # The master key
    env("master key short", MASTER, SHORT, "32 bytes"),
    env("master key not base64", MASTER, f"{PLANTED}!", "base64"),
    env("master key empty", MASTER, "", "empty"),
    env("master key twice", MASTER, f"{KEY},{KEY}", "twice"),
    env("master key second short", MASTER, f"{KEY},{SHORT}", "32 bytes"),
    env("master key of another", MASTER, KEY, "not the key"),
    env("master key and its file", MASTER, KEY, "choose one", OSTIARY_MASTER_KEY_FILE="/dev/null"),
    env("master key file missing", "OSTIARY_MASTER_KEY_FILE", "/nonexistent", "cannot be read"),
    data("master.key short", "32 bytes", write(MASTER_KEY_FILE, SHORT), MASTER),
    data("master.key of another", "not the key", write(MASTER_KEY_FILE, KEY), MASTER),
    data("master.key open", "chmod 600", write(MASTER_KEY_FILE, KEY, 0o640), MASTER),
    data("master.key missing", "cannot be read", lambda data: (data / MASTER_KEY_FILE).unlink(), MASTER),
    data("master.key a link", "cannot be read", link_master_key, MASTER),
    # The database
    env("database scheme", DATABASE, f"mysql://alice:{PLANTED}@db/ostiary", "postgresql://"),
    env("database password @", DATABASE, f"postgresql://alice:{PLANTED}@{PLANTED}@db/ostiary", "as %40"),
    env("database password /", DATABASE, f"postgresql://alice:{PLANTED}/{PLANTED}@db/ostiary", "as %2F"),
    env("database password ?", DATABASE, f"postgresql://alice:{PLANTED}?{PLANTED}@db/ostiary", "as %3F"),
    env("database no name", DATABASE, f"postgresql://alice:{PLANTED}@db", "no database"),
    env("database port", DATABASE, f"postgresql://alice:{PLANTED}@db:five/ostiary", "port", OSTIARY_MASTER_KEY=KEY),
    env(
        "database odd host", DATABASE, f"postgresql://alice:{PLANTED}@d℀b/ostiary", "postgresql://",
        OSTIARY_MASTER_KEY=KEY,
    ),
    Bad("database without master key", MASTER, "PostgreSQL", {DATABASE: POSTGRES}),
    data("schema newer", "schema 9999", sql("UPDATE alembic_version SET version_num = '9999'")),
    data("schema missing", "not initialised", sql("DELETE FROM alembic_version")),
    data("database of nobody", "not initialised", sql("DELETE FROM installation")),
    # The data directory
    data("data missing", "does not exist", shutil.rmtree),
    data("data a file", "not a directory", replace_by_file),
    data("data empty", "ostiary init", lambda data: (data / DATABASE_FILE).unlink()),
    *(data(f"{name} a link", f"{name}) is a symbolic link", link(name)) for name in NO_LINKS),
    data("uses.permits a directory", "uses.permits) cannot be", lambda data: (data / USES_FILE).mkdir()),
    data("data open", "chmod 700", lambda data: data.chmod(0o755)),
    # Files and names
    toml("TOML unknown key", "issuers", f'issuers = "{PLANTED}"', "did you mean issuer"),
    toml("TOML table", "server", f'[server]\nkey = "{PLANTED}"', "not a setting"),
    toml("TOML broken", "--config", f'master_key = "{PLANTED}', "not TOML"),
    toml("TOML twice", "--config", f'key_prefix = "{PLANTED}"\nkey_prefix = "b"', "not TOML"),
    toml("TOML wrong type", "OSTIARY_DATA", "data = 5", "path"),
    toml("TOML secret a list", MASTER, f'master_key = ["{PLANTED}"]', "string"),
    Bad("config missing", "--config", "cannot be read", arguments=("--config", "/nonexistent.toml")),
    env("near miss", "OSTIARY_TRUSTED_PROXY", PLANTED, "OSTIARY_TRUSTED_PROXIES"),
    env("near miss of a secret", "OSTIARY_MASTERKEY", PLANTED, "OSTIARY_MASTER_KEY"),
    # Forms and limits
    env("key prefix upper case", "OSTIARY_KEY_PREFIX", "AK", "lower-case"),
    env("key prefix with its dash", "OSTIARY_KEY_PREFIX", "ak-", "lower-case"),
    env("log format", "OSTIARY_LOG_FORMAT", PLANTED, "json"),
    env("limit negative", "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION", "-1", "not negative"),
    env("limit a word", "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT", "many", "whole number"),
    env("limit absurd", "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION", "9" * 20, "number"),
    env("lifetime negative", "OSTIARY_DEFAULT_MAX_CREDENTIAL_LIFETIME", "-1d", "length of time"),
    env("lifetime a fraction", "OSTIARY_DEFAULT_MAX_CREDENTIAL_LIFETIME", "1.5d", "length of time"),
    env("lifetime absurd", "OSTIARY_DEFAULT_CREDENTIAL_LIFETIME", "9" * 12 + "d", "length of time"),
    env("lifetime over 100 years", "OSTIARY_DEFAULT_MAX_CREDENTIAL_LIFETIME", "36501d", "36500d"),
    env("default lifetime over 100 years", "OSTIARY_DEFAULT_CREDENTIAL_LIFETIME", "9999999d", "36500d"),
    env("deletion delay over 30 days", "OSTIARY_DEFAULT_DELETION_DELAY", "31d", "30d"),
    env("signing by a shared secret", "OSTIARY_SIGNING_ALGORITHM", "HS256", "'ES256', 'EdDSA' or 'RS256'"),
    env("signing by nothing", "OSTIARY_SIGNING_ALGORITHM", "none", "'ES256', 'EdDSA' or 'RS256'"),
    env("signing keys for an hour", "OSTIARY_SIGNING_KEY_LIFETIME", "23h", "shorter than 1d"),
    env("signing keys for good", "OSTIARY_SIGNING_KEY_LIFETIME", "none", "length of time"),
    env("staleness none", "OSTIARY_MAX_STALENESS", "none", "length of time"),
    env(
        "lifetime beyond the longest", "OSTIARY_DEFAULT_CREDENTIAL_LIFETIME", "91d", "longer",
        OSTIARY_DEFAULT_MAX_CREDENTIAL_LIFETIME="90d",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory to copy, made by `init`."""
    path = tmp_path_factory.mktemp("p23") / "data"
    servers.initialise(path)
    return path


@pytest.fixture
def good(template: Path, tmp_path: Path) -> Path:
    found = Path(shutil.copytree(template, tmp_path / "data"))
    found.chmod(0o700)
    return found


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which the test listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def secrets_in(text: str, data: Path) -> list[str]:
    """Text that must not be printed: the planted secrets and the master keys."""
    planted = [PLANTED, KEY[:20], SHORT[:20]]
    if (data / MASTER_KEY_FILE).is_file():
        planted.append((data / MASTER_KEY_FILE).read_text()[:20])
    return [each for each in planted if each in text]


def test_there_are_enough_cases() -> None:
    """P23 breaks: the test covers fewer than the required 30 bad configurations."""
    print(f"{len(CASES)} bad configurations")
    assert len({case.name for case in CASES}) == len(CASES) >= 30


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_bad_configuration_never_starts(case: Bad, good: Path, taken: int, tmp_path: Path) -> None:
    """P23 breaks: the service starts or listens, the error omits the setting or the reason, or it prints a secret."""
    case.spoil(good)
    arguments = ["serve", "--data", str(good), *case.arguments]
    if case.toml is not None:
        (tmp_path / "ostiary.toml").write_text(case.toml, "utf-8")
        arguments += ["--config", str(tmp_path / "ostiary.toml")]
        if case.toml.startswith("data ="):
            arguments[1:3] = []
    if case.key != "--port":
        arguments += ["--port", str(taken)]
    done = servers.run_command(*arguments, code=None, environment=case.environment)
    assert done.returncode == 2, done.stderr
    assert case.key in done.stderr
    assert case.reason in done.stderr
    assert "in use" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert secrets_in(done.stderr, good) == []


def test_everything_wrong_is_said_at_once(good: Path) -> None:
    """P23 breaks: the operator sees only one mistake per start."""
    done = servers.run_command(
        "config", "--data", str(good), code=2,
        environment={ISSUER: "http://keys.example.com", PROXIES: "10.0.0.1/8", "OSTIARY_LOG_FORMAT": "xml"},
    )  # fmt: skip
    assert all(key in done.stderr for key in (ISSUER, PROXIES, "OSTIARY_LOG_FORMAT"))


def test_config_prints_no_secret(good: Path) -> None:
    """P23, P7 break: the command that prints settings prints secret ones."""
    for form in ((), ("--json",)):
        done = servers.run_command(
            "config", "--data", str(good), *form, environment={DATABASE: POSTGRES, MASTER: KEY}
        )
        assert DATABASE in done.stdout
        assert secrets_in(done.stdout + done.stderr, good) == []


def test_a_port_in_use_is_wrong_configuration(good: Path, taken: int) -> None:
    """P23 breaks: two services use the same port, or the second fails without a reason."""
    done = servers.run_command("serve", "--data", str(good), "--port", str(taken), code=2)
    assert f"127.0.0.1:{taken}" in done.stderr
    assert "--port" in done.stderr
    assert done.stdout == ""


def test_a_disk_without_room_for_the_tables_does_not_start(good: Path, taken: int) -> None:
    """P23 breaks: the service starts, but its workers crash at the first mapped page without disk space."""
    size = (good / DATABASE_FILE).stat().st_size
    assert size < 900_000
    command = [*servers.OSTIARY, "serve", "--data", str(good), "--port", str(taken)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 1800 && exec "$@"', "sh", *command],
        env=servers.clean_environment(), capture_output=True, text=True, timeout=servers.PATIENCE,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"OSTIARY_DATA ({good / USES_FILE}) cannot be created or opened: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_database_that_does_not_answer_is_not_reachable(tmp_path: Path) -> None:
    """Service breaks: an unreachable database is reported as a configuration mistake, or its URL is printed."""
    done = servers.run_command(
        "serve", "--data", str(tmp_path / "data"), code=3, environment={DATABASE: POSTGRES, MASTER: KEY}
    )
    assert "OSTIARY_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert secrets_in(done.stderr, tmp_path) == []


GOOD: dict[str, dict[str, str]] = {
    "defaults": {},
    "https issuer": {ISSUER: "https://keys.example.com/"},
    "http issuer on loopback": {ISSUER: "http://keys.localhost:9000"},
    "proxies": {PROXIES: "127.0.0.1, 10.0.0.0/8 ::1 fd00::/8"},
    "limits": {
        "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
        "OSTIARY_DEFAULT_CREDENTIAL_LIFETIME": "90d",
        "OSTIARY_DEFAULT_MAX_CREDENTIAL_LIFETIME": "90d",
        "OSTIARY_DEFAULT_DELETION_DELAY": "0",
        "OSTIARY_MAX_STALENESS": "0",
    },
    "what a container platform sets": {
        "OSTIARY_PORT": "tcp://10.96.0.1:8080",
        "OSTIARY_SERVICE_HOST": "10.96.0.1",
        "OSTIARY_PORT_8080_TCP_ADDR": "10.96.0.1",
    },
    "another prefix": {"OSTIARY_KEY_PREFIX": "acme"},
    "other signing keys": {"OSTIARY_SIGNING_ALGORITHM": "EdDSA", "OSTIARY_SIGNING_KEY_LIFETIME": "1d"},
}


@pytest.mark.parametrize("environment", GOOD.values(), ids=[name.replace(" ", "-") for name in GOOD])
def test_a_good_configuration_starts(good: Path, environment: dict[str, str]) -> None:
    """P23 breaks: a documented configuration is refused."""
    first = {"api_key": ""}
    with servers.ostiary(good, first, None, **environment) as server:
        assert server.call("GET", "/readyz", key="none").status_code == 200


def test_two_master_keys_start_and_read_what_the_older_made(good: Path) -> None:
    """P23 breaks: the first step of a master key change does not start."""
    both = f"{KEY},{(good / MASTER_KEY_FILE).read_text().strip()}"
    with servers.ostiary(good, {"api_key": ""}, None, OSTIARY_MASTER_KEY=both) as server:
        assert server.call("GET", "/readyz", key="none").status_code == 200


def test_a_prefix_of_imported_keys_does_not_become_ours(good: Path) -> None:
    """P23 breaks: our keys have the prefix of another system, so every mistyped key causes a lookup."""
    opened = remember(open_installation(Settings.model_validate({"data": good})))
    operator = opened.store.read(installation.local_operator, SYSTEM_CALLER, None)
    opened.store.write(imports.register_prefix, operator, "legacy-live-")
    opened.close()
    done = servers.run_command(
        "serve", "--data", str(good), code=2, environment={"OSTIARY_KEY_PREFIX": "legacy"}
    )
    assert "OSTIARY_KEY_PREFIX" in done.stderr
    assert "imported keys" in done.stderr
