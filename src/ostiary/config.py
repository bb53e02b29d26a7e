"""All settings, each with its name, documentation, default and check.

A value is taken from the first of these sources: command line, environment (`OSTIARY_…`), TOML file. A secret can also
be in a file that `NAME_FILE` names. All errors are reported at once, by name and reason, and never with the value.
"""

import contextlib
import difflib
import shlex
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticUndefined

from ostiary.core.address import Network, is_loopback_host, parse_network
from ostiary.core.check import given_text, refuse_controls
from ostiary.core.instant import duration_to_text
from ostiary.core.permission import Policy
from ostiary.setting_values import (
    LOOPBACK,
    DeletionDelay,
    Duration,
    Lifetime,
    MaybeNumber,
    Number,
    SessionLifetime,
    SigningKeyLifetime,
    Uses,
    read_bind_host,
    read_database_url,
    read_issuer,
    read_key_prefix,
    read_master_key,
    read_networks,
    read_places,
    read_readers,
)

PREFIX: Final = "OSTIARY_"
CLIENT_SETTINGS: Final = frozenset(
    {
        "URL", "API_KEY", "API_KEY_FILE", "TOKEN", "TOKEN_FILE", "KEY_FILE", "CLIENT_ID", "CLIENT_SECRET",
        "CLIENT_SECRET_FILE", "CONTEXT", "ORGANIZATION",
    }
)  # fmt: skip
"""Variables of the command line as a client. The server ignores them."""

DEFAULT_PORT: Final = 8080
MAX_WORKERS: Final = 64


@dataclass(frozen=True, slots=True)
class InvalidSetting:
    """An invalid setting: its name, where it is set, and why it is invalid."""

    name: str
    source: str
    reason: str


class ConfigurationError(Exception):
    """The settings are invalid, so nothing starts. Exits with 2."""

    def __init__(self, *wrong: InvalidSetting) -> None:
        super().__init__("; ".join(f"{each.name} ({each.source}): {each.reason}" for each in wrong))
        self.wrong = wrong


LISTS: Final = frozenset({"trusted_proxies", "outbound_hosts", "metrics", "master_key"})
"""Settings whose value may have several lines."""


class Settings(BaseModel):
    """The settings in effect."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)

    data: Path = Field(
        Path("ostiary-data"),
        description="The data directory. It has the embedded database, the master key, and the files that the processes "
        "share for changes, rate limits and metrics. Mode 0700.",
    )
    host: Annotated[str, AfterValidator(read_bind_host)] = Field(
        "localhost",
        description="The IP address to bind (command line and file only). `localhost` means 127.0.0.1 and, if present, ::1.",
    )
    port: Annotated[Number, Field(ge=1, le=65535)] = Field(
        DEFAULT_PORT, description="The port to bind (command line and file only)."
    )
    database_url: Annotated[SecretStr, AfterValidator(read_database_url)] | None = Field(
        None,
        description="`postgresql://user:password@host/database`. `none` means SQLite in the data directory.",
    )
    issuer: Annotated[str, AfterValidator(read_issuer)] | None = Field(
        None,
        description="The public URL of this service, https or loopback. Default: `http://localhost` and the port.",
    )
    master_key: Annotated[SecretStr, AfterValidator(read_master_key)] | None = Field(
        None,
        description="32 bytes in base64; several keys, newest first, separated by commas. All other secrets are derived "
        "from it, and no backup contains it. With the embedded database, `ostiary init` creates it in the data directory.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(read_networks)] = Field(
        (),
        description="IP addresses and CIDR ranges of proxies whose forwarded headers are trusted. By default none, not "
        "even loopback.",
    )
    outbound_hosts: Annotated[tuple[str, ...], BeforeValidator(read_places)] = Field(
        (),
        description="Hosts, as `host` (port 443) or `host:port`, from which client documents and keys may be fetched even "
        "at private addresses and over http. By default none: other hosts need https, port 443 and a public address.",
    )
    registration: Literal["open", "off"] = Field(
        "open",
        description="Whether applications can register themselves at `/oauth/register`: `open` or `off`.",
    )
    key_prefix: Annotated[str, AfterValidator(read_key_prefix)] = Field(
        "ak", description="The prefix of new API keys. Keys with former prefixes stay valid."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="The format of the log on standard error: `console` or `json`."
    )
    workers: Annotated[Number, Field(ge=1, le=MAX_WORKERS)] = Field(
        1,
        description="Number of worker processes, at most one for each processor core. With SQLite, more than 1 needs the "
        "SQLite library 3.51.3 or later.",
    )
    disk_reserve: Annotated[Number, Field(le=1024)] = Field(
        32,
        description="Disk space in MiB that is reserved for revocations on a full disk. Embedded database only; 0 "
        "reserves nothing.",
    )
    metrics: Annotated[tuple[Network, ...], BeforeValidator(read_readers)] = Field(
        tuple(parse_network(each) for each in LOOPBACK),
        description="Who may read `/metrics`: IP addresses and CIDR ranges, `loopback` (this machine, the default) or "
        "`none`. The address of the connection counts. Requests that a proxy forwarded are refused.",
    )
    max_staleness: Duration = Field(
        timedelta(seconds=30),
        description="How long cached facts are used while the database does not respond. 0 asks the database before every "
        "verdict.",
    )
    signing_algorithm: Literal["ES256", "EdDSA", "RS256"] = Field(
        "ES256",
        description="The signature algorithm of access tokens: `ES256`, `EdDSA` or `RS256`. After a change, the next start "
        "creates a new key. Tokens signed by the old key stay valid until they expire.",
    )
    signing_key_lifetime: SigningKeyLifetime = Field(
        timedelta(days=90),
        description="Age at which a signing key is replaced by a new one; at least 1d.",
    )
    default_max_credentials_per_service_account: MaybeNumber = Field(
        10, description="Policy: most credentials of a service account; `none` means no limit."
    )
    default_max_credentials_per_organization: MaybeNumber = Field(
        100,
        description="Policy: most credentials of an organization, including inactive ones; `none` means no limit.",
    )
    default_credential_lifetime: Lifetime = Field(
        None, description="Policy: lifetime of a new credential without an expiry of its own, such as `90d`."
    )
    default_max_credential_lifetime: Lifetime = Field(
        None, description="Policy: longest lifetime of a credential, such as `365d`; `none` means no limit."
    )
    default_deletion_delay: DeletionDelay = Field(
        timedelta(hours=24),
        description="Policy: how long after its revocation a credential can be deleted. With 0, an active credential can "
        "be deleted in one step.",
    )
    default_rate_limit: Uses = Field(
        1000, description="Policy: most uses of a credential per minute; `none` means no limit."
    )
    default_session_lifetime: SessionLifetime = Field(
        timedelta(days=30),
        description="Policy: longest lifetime of a session, `5m` to `365d`.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_given(cls, value: Any, field: ValidationInfo) -> Any:
        """Return the value without a byte order mark, carriage return or spaces that editors and shells add."""
        if not isinstance(value, str):
            return value
        value = given_text(value)
        if field.field_name not in LISTS:
            refuse_controls(value)
        return value

    @property
    def public_url(self) -> str:
        return self.issuer or f"http://localhost{'' if self.port == 80 else f':{self.port}'}"

    @property
    def out_of_reach(self) -> str:
        """Advice for a service that other machines reach while its issuer is a loopback address; else empty."""
        if is_loopback_host(self.host) or self.public_url.startswith("https:"):
            return ""
        return (
            f"--host {self.host} lets other machines connect, but people can only sign in at {self.public_url}, and "
            "credentials would be sent unencrypted. Put a proxy with TLS in front, and set OSTIARY_ISSUER to its https:// "
            "URL. To try it without TLS, leave --host out and forward the port on the other machine: "
            f"ssh -L {self.port}:localhost:{self.port} USER@THIS-MACHINE"
        )

    def policy(self) -> Policy:
        return Policy(
            max_credentials_per_service_account=self.default_max_credentials_per_service_account,
            max_credentials_per_organization=self.default_max_credentials_per_organization,
            default_credential_lifetime=_micro(self.default_credential_lifetime),
            max_credential_lifetime=_micro(self.default_max_credential_lifetime),
            deletion_delay=_micro(self.default_deletion_delay) or 0,
            rate_limit=self.default_rate_limit,
            session_lifetime=self.default_session_lifetime // timedelta(microseconds=1),
        )

    def shown(self) -> dict[str, str]:
        """Return all settings as text, with secrets hidden."""
        return {name: _text(getattr(self, name)) for name in type(self).model_fields}


SECRETS: Final = frozenset({"database_url", "master_key"})
NOT_IN_ENVIRONMENT: Final = frozenset({"host", "port"})
"""Container platforms set variables with these names for their own purposes."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, with the source of each one that is not the default."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    """Sentences for the operator."""


def load(command_line: Mapping[str, Any], environment: Mapping[str, str], file: Path | None) -> Loaded:
    """Read and check the settings of all sources. Raises ConfigurationError with all errors."""
    wrong: list[InvalidSetting] = []
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if file is not None:
        for name, value in _from_file(file, wrong).items():
            values[name], sources[name] = value, str(file)
    for name, value, source in _from_environment(environment, wrong):
        values[name], sources[name] = value, source
    for name, value in command_line.items():
        if value is not None:
            values[name], sources[name] = value, f"--{name.replace('_', '-')}"
    settings = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for each in error.errors(include_input=False, include_url=False):
            name = str(each["loc"][0])
            wrong.append(InvalidSetting(setting_name(name), sources.get(name, "default"), _reason(each)))
    if settings is not None:
        longest = settings.default_max_credential_lifetime
        default = settings.default_credential_lifetime
        if longest is not None and default is not None and default > longest:
            wrong.append(
                InvalidSetting(
                    setting_name("default_credential_lifetime"),
                    sources.get("default_credential_lifetime", "default"),
                    "is longer than the longest lifetime that policy allows",
                )
            )
    if wrong or settings is None:
        raise ConfigurationError(*wrong)
    unknown = [
        f"{variable} is set, but this version has no such setting. It is ignored."
        for variable in _unknown_variables(environment)
    ]
    return Loaded(settings, sources, (*unknown, *_exposed(sources, environment)))


def setting_name(name: str) -> str:
    """Return a setting's variable, such as `OSTIARY_ISSUER`, or its option, such as `--port`, if it has no variable."""
    return f"--{name}" if name in NOT_IN_ENVIRONMENT else PREFIX + name.upper()


def default_text(name: str) -> str:
    default = Settings.model_fields[name].default
    return _text(None if default is PydanticUndefined else default)


def _from_file(file: Path, wrong: list[InvalidSetting]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        wrong.append(InvalidSetting("--config", str(file), f"cannot be read: {os_reason(error)}"))
        return {}
    except tomllib.TOMLDecodeError as error:
        # Only the position is repeated: the parser's message may quote values.
        place = str(error).rpartition("(")[2].rstrip(")")
        wrong.append(InvalidSetting("--config", str(file), f"is not TOML ({place})"))
        return {}
    known = {}
    for name, value in values.items():
        if name not in Settings.model_fields:
            close = difflib.get_close_matches(name, Settings.model_fields, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            wrong.append(InvalidSetting(name, str(file), f"is not a setting{hint}"))
        else:
            known[name] = value
    return known


def _from_environment(
    environment: Mapping[str, str], wrong: list[InvalidSetting]
) -> list[tuple[str, str, str]]:
    found = []
    for name in Settings.model_fields:
        if name in NOT_IN_ENVIRONMENT:
            continue
        variable = PREFIX + name.upper()
        plain, file = environment.get(variable), environment.get(f"{variable}_FILE")
        file = None if file is None else given_text(file)
        if name in SECRETS and file is not None:
            if plain is not None:
                wrong.append(
                    InvalidSetting(variable, "environment", f"is set, and so is {variable}_FILE; choose one")
                )
                continue
            try:
                found.append((name, Path(file).read_text("utf-8-sig"), f"{variable}_FILE"))
            except (OSError, UnicodeDecodeError) as error:
                wrong.append(
                    InvalidSetting(f"{variable}_FILE", "environment", f"cannot be read: {os_reason(error)}")
                )
        elif plain is not None:
            found.append((name, plain, "environment"))
    for variable in environment:
        short = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and not _is_known(short):
            close = difflib.get_close_matches(
                short.lower(),
                [name for name in Settings.model_fields if name not in NOT_IN_ENVIRONMENT],
                1,
                0.85,
            )
            if close:
                reason = f"is not a setting; did you mean {setting_name(close[0])}?"
                wrong.append(InvalidSetting(variable, "environment", reason))
    return found


def _is_known(short: str) -> bool:
    name = short.lower()
    return (
        short in CLIENT_SETTINGS
        or name in Settings.model_fields
        or (name.endswith("_file") and name.removesuffix("_file") in SECRETS)
    )


def _unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return variables with the prefix that nothing reads, except those that container platforms set."""
    return tuple(
        sorted(
            variable
            for variable in environment
            if variable.startswith(PREFIX)
            and not _is_known(variable.removeprefix(PREFIX))
            and "_SERVICE_" not in variable
            and "_PORT" not in variable
        )
    )


def _exposed(sources: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Return a warning for each file with a secret that every user of the machine can read.

    Read permission for a group is fine: that is how a service gets files that root owns.
    """
    # The source of a secret is `NAME_FILE`, the TOML file, or `environment`, which is not a file.
    named = {source for name, source in sources.items() if name in SECRETS and source != "environment"}
    files = {given_text(environment.get(source, source)) for source in named}
    found = []
    for file in sorted(files):
        with contextlib.suppress(OSError, ValueError):
            mode = Path(file).stat().st_mode
            if stat.S_ISREG(mode) and mode & 0o007:
                found.append(
                    f"{file} contains a secret, and other users can read it. Run `chmod 600 {shlex.quote(file)}`."
                )
    return found


def _reason(error: Any) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    message: str = error["msg"]
    return message.replace("Input should", "must", 1)


def os_reason(error: Exception) -> str:
    return (error.strerror or "error") if isinstance(error, OSError) else "it is not UTF-8 text"


def _micro(length: timedelta | None) -> int | None:
    return None if length is None else length // timedelta(microseconds=1)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, timedelta):
        return duration_to_text(value // timedelta(microseconds=1))
    if isinstance(value, tuple):
        return ", ".join(str(each) for each in value) or "none"
    return str(value)
