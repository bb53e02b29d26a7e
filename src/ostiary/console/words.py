"""Describes scopes, times, browsers and redirect URIs in words for people."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from ostiary.core.instant import DAY, MINUTE, Instant

SCOPES: Final = {
    "api": "Everything that you may do yourself",
    "m2m": "Everything that you may do yourself",
    "offline_access": "Keep access while you are away",
    "verify:credentials": "Check whether a credential is good",
    "read:audit": "Read the audit log",
}
VERBS: Final = {"read": "Read", "write": "Create, change and delete"}

BROWSERS: Final = (
    # A mark in the User-Agent header, and the browser's name. The first match wins, because most browsers send
    # several of these marks.
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
_SIXTH: Final = re.compile(r"[0-9a-f:.]+")


def describe_scope(scope: str) -> str:
    """Describe what a scope allows: `read:plugins` is "Read plugins"."""
    if scope in SCOPES:
        return SCOPES[scope]
    verb, colon, noun = scope.partition(":")
    if not colon:
        return scope
    of = "everything" if noun == "*" else noun.replace("-", " ").replace("_", " ")
    return f"{VERBS.get(verb, verb.capitalize())} {of}"


def describe_time(instant: Instant) -> str:
    """Format a time in UTC, to the minute: "22 Nov 2026, 09:30". Pages say once that times are UTC."""
    moment = _EPOCH + timedelta(microseconds=instant)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M}"


def describe_day(instant: Instant) -> str:
    """Format a date in UTC: "22 Nov 2026"."""
    return describe_time(instant).partition(",")[0]


def describe_span(span: Instant) -> str:
    """Format a duration in microseconds: "30 days", "90 minutes"."""
    days, rest = divmod(span, DAY)
    if rest or not days:
        return f"{span // MINUTE} minutes"
    return f"{days} days" if days > 1 else "1 day"


def describe_browser(user_agent: str) -> str:
    """Describe a User-Agent header (RFC 9110 §10.1.5): "Firefox on Linux", or a program's name and version."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), None)
    if browser is None:
        words = user_agent.split()
        return words[0][:60] if words else "An unnamed program"
    system = next((name for mark, name in SYSTEMS if mark in user_agent), None)
    return f"{browser} on {system}" if system else browser


@dataclass(frozen=True, slots=True)
class Destination:
    """The destination of a redirect. `place` is "site", "computer" (a loopback address) or "app" (a private scheme).
    `shown` is the host or scheme, and `source` is the same as a source in a content security policy."""

    place: str
    shown: str
    source: str


def destination(redirect_uri: str) -> Destination:
    """Describe a valid redirect URI. Raise ValueError if it cannot be shown and named in a policy exactly."""
    parts = urlsplit(redirect_uri)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    if not _SCHEME.fullmatch(scheme):
        raise ValueError("a redirect URI has a scheme")
    if "@" in parts.netloc or "\\" in redirect_uri or not redirect_uri.isprintable():
        # Browsers read `https://a\@b/` as host a; other parsers as b.
        raise ValueError("a redirect URI names its host in one way")
    if scheme not in {"http", "https"}:
        return Destination("app", scheme, f"{scheme}:")
    port = "" if parts.port is None else f":{parts.port}"
    if ":" in host:
        if not _SIXTH.fullmatch(host):
            raise ValueError("a redirect URI has a host")
        # A policy cannot name an IPv6 address (CSP 3 §2.3.1), only its scheme.
        shown, source = f"[{host}]{port}", f"{scheme}:"
    elif _HOST.fullmatch(host):
        shown, source = f"{host}{port}", f"{scheme}://{host}{port}"
    else:
        raise ValueError("a redirect URI has a host, in ASCII")
    return Destination("computer" if _LOOPBACK.fullmatch(host) else "site", shown, source)
