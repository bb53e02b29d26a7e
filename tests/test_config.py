"""Settings with the extra characters that editors, shells and other systems add at the ends of values."""

from pathlib import Path

import pytest

from ostiary.config import ConfigurationError, Settings, load

URL = "https://keys.example.com"


def settings(**environment: str) -> Settings:
    return load({}, {f"OSTIARY_{name}": value for name, value in environment.items()}, None).settings


@pytest.mark.parametrize("mark", ["\r", "\t", " ", "\r\n", "\ufeff"], ids=ascii)
def test_marks_around_a_value_are_no_part_of_it(mark: str, tmp_path: Path) -> None:
    """P23 breaks: the issuer contains a carriage return, and no token is accepted."""
    before = mark if mark == "\ufeff" else ""
    assert settings(ISSUER=f"{before}{URL}{mark.removeprefix(before)}").public_url == URL
    assert settings(OUTBOUND_HOSTS=f"{before}idp.internal{mark.removeprefix(before)}").outbound_hosts == (
        "idp.internal:443",
    )
    secret = tmp_path / "url"
    secret.write_bytes(f"{before}postgresql://alice@db/ostiary{mark.removeprefix(before)}".encode())
    found = settings(DATABASE_URL_FILE=f"{secret}{mark.removeprefix(before)}").database_url
    assert found is not None
    assert found.get_secret_value() == "postgresql://alice@db/ostiary"


def test_a_file_of_settings_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """P23 breaks the other way: a TOML file from an editor of another system is refused."""
    file = tmp_path / "ostiary.toml"
    file.write_bytes(f'\ufeffissuer = "{URL}"\r\n'.encode())
    assert load({}, {}, file).settings.public_url == URL


def test_a_control_character_inside_a_value_is_named() -> None:
    """P23 breaks: an error says that a value is wrong, but the operator cannot see why."""
    with pytest.raises(ConfigurationError, match=r"OSTIARY_ISSUER .* a carriage return \(U\+000D\)"):
        settings(ISSUER="https://keys\r.example.com")


@pytest.mark.parametrize(
    "issuer, public_url",
    [
        ("https://Keys.Example.com/", URL),
        ("https://keys.example.com:443", URL),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_issuer_is_an_origin_as_browsers_write_it(issuer: str, public_url: str) -> None:
    """P23 breaks: forms are refused because the issuer is not written as browsers write the Origin header."""
    assert settings(ISSUER=issuer).public_url == public_url


@pytest.mark.parametrize(
    "host, issuer, warns",
    [
        ("0.0.0.0", "", True),
        ("192.0.2.7", "http://localhost:80", True),
        ("0.0.0.0", URL, False),
        ("::1", "", False),
    ],
)
def test_an_address_that_nobody_can_sign_in_at_is_warned_of(host: str, issuer: str, warns: bool) -> None:
    """Start breaks: the service listens on the network and refuses all forms, but prints no warning."""
    found = load({"host": host}, {"OSTIARY_ISSUER": issuer} if issuer else {}, None).settings.out_of_reach
    assert ("ssh -L" in found) is warns


def test_an_issuer_beyond_ascii_is_refused_with_its_remedy() -> None:
    """P23 breaks: nobody can sign in, because browsers send the host in Punycode."""
    with pytest.raises(ConfigurationError, match=r"OSTIARY_ISSUER .* Punycode"):
        settings(ISSUER="https://schlüssel.example")
