"""Redirect URIs: which may be registered, which registration a request matches, and how pages show them.

URIs are compared as exact strings (RFC 9700 §4.1.3). The only exception is the port of a loopback URI, which a native
application does not know in advance (RFC 8252 §7.3).
"""

import re
from typing import Final

from ostiary.core.url import MAX_URL, read_url

MAX_REDIRECTS: Final = 10
LOOPBACKS: Final = frozenset({"127.0.0.1", "::1", "localhost"})

# A private-use URI scheme (RFC 8252 §7.1). At least two letters: a single one could be a Windows drive.
_PRIVATE_USE: Final = re.compile(
    r"(?P<scheme>[a-z](?=[^:])[a-z0-9-]*(?:\.[a-z0-9-]+)*):/[A-Za-z0-9._~!$&'()+,;=:/?%-]*"
)
RESERVED_SCHEMES: Final = frozenset({
    # Schemes that browsers handle, and `localhost` of a URL without a scheme
    "about", "blob", "chrome", "chrome-devtools", "chrome-error", "chrome-extension", "chrome-native",
    "chrome-search", "chrome-untrusted", "cid", "content", "data", "devtools", "edge", "extension", "feed",
    "file", "filesystem", "ftp", "ftps", "gopher", "http", "https", "jar", "javascript", "livescript",
    "localhost", "mhtml", "mid", "mocha", "moz-extension", "opera", "pcast", "resource", "safari-extension",
    "safari-web-extension", "vbs", "vbscript", "view-source", "vivaldi", "wais", "web", "ws", "wss",
    "wyciwyg",
    # Schemes that operating systems open with their own programs
    "acap", "afp", "callto", "cifs", "dav", "davs", "dict", "facetime", "facetime-audio", "fish", "geo",
    "git", "gtalk", "help", "help-viewer", "imap", "imaps", "intent", "irc", "ircs", "itms", "itms-apps",
    "itms-services", "jnlp", "jnlps", "ldap", "ldapi", "ldaps", "magnet", "mailto", "maps", "market",
    "message", "mms", "mmsto", "nfs", "news", "nntp", "onenote", "pop", "pop3", "pres", "proxy", "rdp", "res",
    "rlogin", "rsync", "rtmp", "rtsp", "search", "search-ms", "sftp", "shell", "sip", "sips", "skype", "sms",
    "smsto", "smb", "snews", "snmp", "ssh", "svn", "tel", "telnet", "tftp", "tn3270", "urn", "view", "vnc",
    "webcal", "x-help", "x-man-page", "x-web-search", "xmpp",
})  # fmt: skip
"""Schemes that browsers or operating systems handle themselves. No application may use them."""
RESERVED_SCHEME_PREFIXES: Final = ("microsoft", "ms-", "x-apple", "android-app", "ios-app")
"""Prefixes of further such schemes: of Windows and Office, and of links into mobile applications."""
_LOOPBACK: Final = re.compile(
    r"(?P<host>http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::(?P<port>[1-9][0-9]{0,4}))?(?P<rest>(?:[/?].*)?)"
)


def redirect_uri(text: str) -> str:
    """Return the URI unchanged if it may be registered. Raises ValueError with the reason, which never contains the
    URI."""
    if len(text) > MAX_URL:
        raise ValueError(f"must have at most {MAX_URL} characters")
    if not text.isascii() or not text.isprintable() or set(text) & set(" \\"):
        raise ValueError(
            "must not contain white space, backslashes, control characters or non-ASCII characters"
        )
    if "#" in text:
        raise ValueError("must not have a fragment")
    if "*" in text:
        raise ValueError("must not have a wildcard: redirect URIs are compared exactly")
    if private_scheme(text) is not None:
        return text
    scheme, colon, _ = text.partition(":")
    if not colon or scheme not in {"http", "https"}:
        raise ValueError(
            "must begin with https://, with http:// and a loopback address, or with a private-use scheme such as "
            "com.example.app:/"
        )
    url = read_url(text)
    if url.scheme == "http" and url.host not in LOOPBACKS:
        raise ValueError("must be https: http is allowed for 127.0.0.1, [::1] and localhost only")
    return text


def private_scheme(uri: str) -> str | None:
    """Return the private-use scheme of the URI; None for any other URI."""
    match = _PRIVATE_USE.fullmatch(uri)
    if match is None:
        return None
    scheme = match["scheme"]
    return None if scheme in RESERVED_SCHEMES or scheme.startswith(RESERVED_SCHEME_PREFIXES) else scheme


def redirect_matches(registered: str, asked: str) -> bool:
    """Return whether the requested URI matches the registered one."""
    if registered == asked:
        return True
    ours, theirs = _LOOPBACK.fullmatch(registered), _LOOPBACK.fullmatch(asked)
    return (
        ours is not None
        and theirs is not None
        and ours["host"] == theirs["host"]
        and ours["rest"] == theirs["rest"]
        and int(theirs["port"] or 80) <= 65535
    )


def origin_of_redirect(uri: str) -> str:
    """Return the CSP `form-action` source that lets a form's response redirect to this URI. Raises ValueError for a
    bad URI."""
    private = private_scheme(uri)
    if private is not None:
        return f"{private}:"
    url = read_url(uri)
    # CSP has no source for an IPv6 address (CSP 3 §2.3.1). Browsers would ignore it and block the redirect.
    return f"{url.scheme}:" if ":" in url.host else f"{url.scheme}://{url.authority}"


def host_of(uri: str) -> str:
    """Return what pages show to people: the host, or the private-use scheme. Raises ValueError for a bad URI."""
    return private_scheme(uri) or read_url(uri).host
