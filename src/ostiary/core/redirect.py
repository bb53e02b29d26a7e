"""Redirect URIs: which may be registered, which of them is meant, and what pages may say of one.

They are compared as exact strings (RFC 9700 §4.1.3). The one exception is the port of loopback URIs, which native
applications do not know beforehand (RFC 8252 §7.3).
"""

import re
from typing import Final

from ostiary.core.url import MAX_URL, read_url

MAX_REDIRECTS: Final = 10
LOOPBACKS: Final = frozenset({"127.0.0.1", "::1", "localhost"})

# A name that its maker owns, in reverse (RFC 8252 §7.1): that is why it has a dot.
_PRIVATE_USE: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+):/[A-Za-z0-9._~!$&'()+,;=:/?%-]*"
)
_LOOPBACK: Final = re.compile(
    r"(?P<host>http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::(?P<port>[1-9][0-9]{0,4}))?(?P<rest>(?:[/?].*)?)"
)


def redirect_uri(text: str) -> str:
    """A URI that may be registered, as it was given. ValueError says why it may not, and never holds it."""
    if len(text) > MAX_URL:
        raise ValueError(f"must have at most {MAX_URL} characters")
    if not text.isascii() or not text.isprintable() or set(text) & set(" \\"):
        raise ValueError(
            "must not hold white space, backslashes, control characters or characters beyond ASCII"
        )
    if "#" in text:
        raise ValueError("must not have a fragment")
    if "*" in text:
        raise ValueError("must not have a wildcard: redirect URIs are compared as they are")
    if _PRIVATE_USE.fullmatch(text):
        return text
    scheme, colon, _ = text.partition(":")
    if not colon or scheme not in {"http", "https"}:
        raise ValueError(
            "must begin with https://, with http:// and a loopback address, or with a scheme of the application's own "
            "that has a dot, such as com.example.app:/"
        )
    url = read_url(text)
    if url.scheme == "http" and url.host not in LOOPBACKS:
        raise ValueError("must be https, for http is for 127.0.0.1, [::1] and localhost only")
    return text


def redirect_matches(registered: str, asked: str) -> bool:
    """Whether this URI is asked for under that registration."""
    if registered == asked:
        return True
    one, other = _LOOPBACK.fullmatch(registered), _LOOPBACK.fullmatch(asked)
    return (
        one is not None
        and other is not None
        and one["host"] == other["host"]
        and one["rest"] == other["rest"]
        and int(other["port"] or 80) <= 65535
    )


def origin_of_redirect(uri: str) -> str:
    """What lets a form's answer lead there, as a source of the CSP directive form-action. ValueError for no such URI."""
    private = _PRIVATE_USE.fullmatch(uri)
    if private is not None:
        return f"{private['scheme']}:"
    url = read_url(uri)
    # A source cannot be an IPv6 address (CSP 3 §2.3.1): browsers skip what they cannot read, and the form is stuck.
    return f"{url.scheme}:" if ":" in url.host else f"{url.scheme}://{url.authority}"


def host_of(uri: str) -> str:
    """Where it leads, for people: the host, or the scheme of an application's own. ValueError for no such URI."""
    private = _PRIVATE_USE.fullmatch(uri)
    return read_url(uri).host if private is None else private["scheme"]
