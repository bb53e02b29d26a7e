"""Parsers for the values of settings, one for each form. They raise ValueError.

An error message continues a sentence that begins with the setting's name. It never contains the value.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from ostiary.core.address import Network, is_loopback_host, parse_address, parse_network
from ostiary.core.instant import DAY, duration_from_text, duration_to_text
from ostiary.core.keyring import read_master_keys
from ostiary.core.permission import MAX_DELETION_DELAY, MAX_LIFETIME, SESSION_LIFETIMES
from ostiary.core.rate import rate_of
from ostiary.core.secret import prefix_of
from ostiary.core.url import check_userinfo, read_host_and_port, read_url

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


def none_or(read: Any) -> Any:
    def parse(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value.lower() in {"", "none"}):
            return None
        return read(value)

    return parse


def read_length(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    return timedelta(microseconds=duration_from_text(str(value)))


def read_number(value: Any) -> int:
    if isinstance(value, bool) or not str(value).isascii() or not str(value).isdigit() or len(str(value)) > 9:
        raise ValueError("must be a whole number, not negative")
    return int(value)


def read_networks(
    value: Any, words: Mapping[str, tuple[str, ...]] = MappingProxyType({})
) -> tuple[Network, ...]:
    """Return the networks of a list. An entry that is a key of `words` stands for several networks."""
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError("must be a list of IP addresses and CIDR ranges")
    networks: list[Network] = []
    for number, part in enumerate(parts):
        try:
            networks += map(parse_network, words.get(str(part), (str(part),)))
        except ValueError as error:
            raise ValueError(f"entry {number + 1} {error}") from None
    return tuple(networks)


def read_readers(value: Any) -> tuple[Network, ...]:
    """Like `read_networks`; `loopback` means this machine's own addresses, and `none` alone means nobody."""
    if isinstance(value, str) and value.strip().lower() == "none":
        return ()
    try:
        return read_networks(value, {"loopback": LOOPBACK})
    except ValueError as error:
        raise ValueError(f"{error} (or loopback, or none alone)") from None


def read_places(value: Any) -> tuple[str, ...]:
    """Return a list of hosts, each with its port (default 443), in the form of `Url.place`."""
    if isinstance(value, str) and value.strip().lower() == "none":
        return ()
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError("must be a list of hosts")
    places: list[str] = []
    for number, part in enumerate(parts):
        try:
            places.append(read_host_and_port(str(part)))
        except ValueError as error:
            raise ValueError(f"entry {number + 1} {error}") from None
    return tuple(dict.fromkeys(places))


def read_issuer(value: str) -> str:
    """Return an https origin, or an http origin on loopback. Other http URLs would send credentials unencrypted."""
    if not value.isascii():
        raise ValueError(
            "has characters outside ASCII; write its host in Punycode (xn--…), as browsers send it"
        )
    _split(value, "https://keys.example.com")
    try:
        url = read_url(value)
    except ValueError as error:
        raise ValueError(f"{error}, such as https://keys.example.com") from None
    if url.path not in {"", "/"} or url.query is not None:
        raise ValueError("must be an origin: no path, query or fragment")
    if url.scheme == "http" and not is_loopback_host(url.host):
        raise ValueError("must begin with https:// (http is for loopback only)")
    return f"{url.scheme}://{url.authority}"


def _split(url: str, form: str) -> SplitResult:
    """Return the parts of a URL. Errors of urlsplit are replaced, because they quote user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"must be a URL such as {form}") from None
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is not a number from 1 to 65535") from None
    return parts


def read_database_url(value: SecretStr) -> SecretStr:
    check_userinfo(url := value.get_secret_value())
    parts = _split(url, "postgresql://user:password@host/database")
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql:// (the embedded database needs no URL)")
    if not parts.path.strip("/"):
        raise ValueError("has no database name")
    return SecretStr(url.replace("postgres://", "postgresql://", 1))


def read_master_key(value: SecretStr) -> SecretStr:
    read_master_keys(value.get_secret_value())
    return value


def read_key_prefix(value: str) -> str:
    return prefix_of(value).removesuffix("-")


def read_bind_host(value: str) -> str:
    if value != "localhost":
        try:
            parse_address(value)
        except ValueError:
            raise ValueError(
                "must be an IP address to bind, or localhost for both loopback addresses"
            ) from None
    return value


def at_most(longest: int) -> Callable[[timedelta | None], timedelta | None]:
    """Return a check that a duration has at most this many microseconds."""

    def check(value: timedelta | None) -> timedelta | None:
        if value is not None and value > timedelta(microseconds=longest):
            raise ValueError(f"must not be longer than {duration_to_text(longest)}")
        return value

    return check


def at_least(shortest: int) -> Callable[[timedelta], timedelta]:
    """Return a check that a duration has at least this many microseconds."""

    def check(value: timedelta) -> timedelta:
        if value < timedelta(microseconds=shortest):
            raise ValueError(f"must not be shorter than {duration_to_text(shortest)}")
        return value

    return check


def read_rate(value: int | None) -> int | None:
    if value is not None:
        rate_of(value)
    return value


Duration = Annotated[timedelta, BeforeValidator(read_length)]
MaybeDuration = Annotated[timedelta | None, BeforeValidator(none_or(read_length))]
Lifetime = Annotated[MaybeDuration, AfterValidator(at_most(MAX_LIFETIME))]
DeletionDelay = Annotated[Duration, AfterValidator(at_most(MAX_DELETION_DELAY))]
SigningKeyLifetime = Annotated[Duration, AfterValidator(at_most(MAX_LIFETIME)), AfterValidator(at_least(DAY))]
SessionLifetime = Annotated[
    Duration, AfterValidator(at_least(SESSION_LIFETIMES[0])), AfterValidator(at_most(SESSION_LIFETIMES[1]))
]
Number = Annotated[int, BeforeValidator(read_number)]
MaybeNumber = Annotated[int | None, BeforeValidator(none_or(read_number))]
Uses = Annotated[MaybeNumber, AfterValidator(read_rate)]
