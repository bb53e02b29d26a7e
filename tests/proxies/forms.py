"""Request targets that servers are known to read differently, and the ways in which servers read them.

Targets are the bytes on the wire, written as Latin-1 text. The readings are implemented here, independent of the code
under test.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import product
from random import Random
from urllib.parse import unquote_to_bytes

# One directory up, or what some servers read as that.
UP = [
    "..", "%2e%2e", "%2E%2E", "%2e%2E", ".%2e", "%2e.", "%252e%252e", "%25%32%65%25%32%65", "..;", "..;x=y", "..%3b",
    "..%00", "..%20", "..%09", "..\t", "..%0d%0a", "..%23", "..%3f", "..#", "..\\", "..%5c", "..%5C", "..%255c",
    "..%2f", "..%2F", "..%252f", "..%c0%af", "..%e0%80%af", "..%ef%bc%8f", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae",
    "%f0%80%80%ae%f0%80%80%ae", "%ef%bc%8e%ef%bc%8e", "\xef\xbc\x8e\xef\xbc\x8e", "%uff0e%uff0e", "%u002e%u002e",
    "%e2%80%a5", "%e2%80%a4%e2%80%a4", "...", "....", ". .", "..%ff", "..\xff", "%%32%65%%32%65", ".;/..", "./..",
    "..//..", "x/../..", "%2e%2e%2f%2e%2e", ";/..", "//..",
]  # fmt: skip
PLACES_OF_UP = [
    "/v1/public/{}/secrets",
    "/v1/agents/{}/secrets",
    "/v1/agents/{}",
    "/v1/public/a/{0}/{0}/secrets",
]

# Characters that may separate path segments, or end the path.
MARKS = [
    "%2f", "%2F", "%252f", "%252F", "%25%32%66", "%c0%af", "%e0%80%af", "%f0%80%80%af", "%ef%bc%8f", "%e2%88%95",
    "\xef\xbc\x8f", "\\", "%5c", "%5C", "%255c", "%c1%9c", "%ef%bc%bc", "//", "///", "/./", "/%2e/", ";/", ";a=b/",
    "%3b/", "%253b/", "%00", "%00/", "%2500/", "\x00", "#/", "%23/", "%2523/", "?/../../", "%3f/", "%253f/", "%20/",
    " /", "%09", "\t", "%0a", "%0d", "%0d%0a", "\x0b", "\x0c", "\x7f", "\x85", "\xa0/", "%c2%a0/", "%c2%85/",
    "%e2%80%a8/", "%e2%80%8b/", "./", "../", ".%20/", "%", "%2", "%zz", "%-1", "%u002f", "%u2215", "&#47;", "|",
    "^", "`", "{", "}", "<", ">", "\"",
]  # fmt: skip
PLACES_OF_MARKS = ["/v1{}secrets", "/v1/agents/a{}secrets", "/v1/public/..{}secrets"]

ALONE = [
    # Other forms of a target, and invalid targets
    "", "*", "?", "#", "v1/secrets", "v1/agents", "\\v1\\secrets", "//", "///", "/", "/?", "/#", "/;", "/.", "/..",
    "http://agents.test/v1/secrets", "http://agents.test/v1/public/../secrets", "http://agents.test/v1/agents",
    "http://agents.test//v1/secrets", "http://agents.test", "http://agents.test?/v1/agents", "http:///v1/secrets",
    "http:/v1/secrets", "http:v1/secrets", "https://agents.test/v1/secrets", "HTTP://agents.test/v1/secrets",
    "http://evil.test/v1/secrets", "http://agents.test@evil.test/v1/secrets", "ftp://agents.test/v1/secrets",
    "file:///v1/secrets", "http://agents.test/v1/agents/..;/secrets", "http://agents.test\\v1/secrets",
    "http://agents.test:1/v1/secrets", "http://[::1]/v1/secrets", "http://agents.test/%2e%2e/v1/secrets",
    "//agents.test/v1/secrets", "//v1/agents", "//v1/secrets", "/\\v1/secrets", "\\/v1/secrets", "///v1/secrets",
    "/\\agents.test/v1/secrets", "/%2fv1/secrets", "%2fv1/secrets", "%2fv1/agents", "/./v1/secrets",
    "/%2e/v1/secrets", "/../v1/secrets", "agents.test:80", "agents.test",
    # Plain paths that the rule does not admit
    "/v1/secrets", "/v1/secrets/", "/v1/secrets?x=/v1/agents", "/v1/secrets#/v1/agents", "/v1/secrets;/v1/agents",
    "/v1/secrets%3f/v1/agents", "/v1/secrets%23/v1/agents", "/v1/secrets/../agents", "/v1/secrets/..;/agents",
    "/v1/secrets/%2e%2e/agents", "/v1/secrets%2f..%2fagents", "/v1/secrets/.", "/v1/secrets/..", "/v1/SECRETS",
    "/V1/secrets", "/V1/agents", "/v1/AGENTS", "/v1/Agents", "/v1%2fsecrets", "/v1/%73ecrets", "/%761/secrets",
    "/v1/%2573ecrets", "/v1/s%65crets", "/v1/secret%73", "/v1/secrets.json", "/v1/secrets%20", "/v1/secrets%00.png",
    # Almost the path that the rule admits
    "/v1", "/v1/", "/v1/agents/", "/v1/agents//", "/v1/agents/a/", "/v1/agents/a/b", "/v1/public", "/v1/public/",
    "/v1/public//", "/v1/public//a", "/v1/public/.", "/v1/public/..", "/v1/public/a/..", "/v1/public/a/.",
    "/v1/public/a//b", "/v1/public/a/", "/v1/agents;a=b", "/v1;a=b/agents", "/v1/agents;", "/v1/agents.",
    "/v1/agents..", "/v1/agents%20", "/v1/agents%09", "/v1/agents%00", "/v1/agents\x00", "/v1/agents%2e",
    "/v1/agents/a%2e", "/v1/agents/a%20", "/v1/agents/%20", "/v1/agents/%09", "/v1/agents/...", "/v1/agents/~",
    "/v1/agents::$DATA", "/v1/agents/a:b", "/v1/agents/.hidden", "/v1/agents/**", "/v1/agents/{id}",
    "/v1/agents/%7bid%7d", "/v1/agents/\xc3\xa9", "/v1/agents/%e9", "/v1/agents/\xe9", "/v1/agents/e%cc%81",
    "/v1/%e1%ba%9ecrets", "/v1/%c5%bfecrets", "/v1/agents/%ef%bc%a1", "/v1/agents/%e2%80%ae", "/v1/agents/%f0%9f%94%91",
    "/v1/agents HTTP/1.1", "/v1/agents HTTP/1.1 /v1/secrets", "/v1/agents  /v1/secrets", "/v1/agents\t/v1/secrets",
    "/v1/agents%20HTTP/1.1", "/v1/agents%0d%0aX-Auth-Subject:%20admin", "/v1/agents\rX-Auth-Subject: admin",
    "/v1/agents\nX-Auth-Subject: admin", "/v1/agents?\r\nX-Auth-Subject: admin",
    # Queries, which the rule does not match
    "/v1/agents?", "/v1/agents??", "/v1/agents?/../secrets", "/v1/agents?x=%2e%2e/secrets", "/v1/agents?x=%00",
    "/v1/agents?x=%zz", "/v1/agents?x=#/../secrets", "/v1/agents?x=;/../secrets", "/v1/agents?x=\\..\\secrets",
    "/v1/agents?x=\t", "/v1/agents?x=\xff", "/v1/agents?_method=DELETE", "/v1/agents?" + "x" * 4000,
    # Long targets
    "/v1/agents/" + "a" * 4000, "/v1/agents/" + "a" * 9000, "/v1/agents/" + "a" * 20000, "/v1/public" + "/a" * 1500,
    "/v1/public" + "/a" * 400 + "/.." * 402 + "/secrets", "/v1/public/" + "../" * 1000 + "v1/secrets",
    "/v1/agents" + "/" * 1000 + "a", "/v1/public/" + "%2e%2e/" * 300 + "v1/secrets", "/v1/agents/" + "%61" * 1500,
]  # fmt: skip

SERVED = [
    "/v1/agents", "/v1/agents?", "/v1/agents?limit=10", "/v1/agents?q=a%2Fb", "/v1/agents?x=/../secrets",
    "/v1/agents?x=..;%2f", "/v1/%61gents", "/v1/a%67ents", "/%76%31/agents", "/v1/agents/a", "/v1/agents/a.b",
    "/v1/agents/.well-known", "/v1/agents/a..b", "/v1/agents/a%20b", "/v1/agents/%C3%A9", "/v1/agents/%c3%a9",
    "/v1/agents/~a-b_c", "/v1/agents/@x:y", "/v1/agents/a+b", "/v1/agents/a=b,c", "/v1/agents/a!b$c&d'e(f)g*h",
    "/v1/agents/ABC", "/v1/agents/%41", "/v1/agents/secrets", "/v1/public/a", "/v1/public/a/b/c/d",
    "/v1/public/v1/secrets", "/v1/public/a?b", "/v1/public/" + "a" * 2000, "/v1/public" + "/a" * 200,
]  # fmt: skip
"""Targets of ordinary clients: the rule admits them, and the proxy forwards them unchanged."""

HOSTILE = list(
    dict.fromkeys(
        target
        for target in (
            *(place.format(form) for place in PLACES_OF_UP for form in UP),
            *(place.replace("{}", mark) for place in PLACES_OF_MARKS for mark in MARKS),
            *ALONE,
        )
        if target not in SERVED
    )
)


def composed(seed: int, count: int) -> Iterator[str]:
    """Return targets composed at random of the same parts. Each begins with a path that the rule admits."""
    random = Random(seed)
    parts = [
        *UP,
        *MARKS,
        *["/"] * 40,
        "a",
        "agents",
        "secrets",
        "public",
        "v1",
        "/../",
        "%2e%2e/",
        "/.",
        ";a",
        "?",
        "%",
    ]
    for _ in range(count):
        start = random.choice(["/v1/agents/", "/v1/public/", "/v1/", "/", "/v1/agents"])
        yield start + "".join(random.choices(parts, k=random.randint(1, 8)))


# How servers read a target

Segments = tuple[str, ...]


def readings(target: str) -> set[Segments]:
    """Return the paths that different servers read in this target, without empty segments and dot segments."""
    raw = target.encode("latin-1")
    if not raw.startswith(b"/"):
        raw = re.sub(rb"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", b"", raw)
    paths = {raw.partition(b"?")[0], re.split(rb"[?#]", raw)[0]}
    for _ in range(3):
        paths |= {unquote_to_bytes(path) for path in paths}
    texts = {text for path in paths for text in _texts(path)}
    texts |= {re.split(r"[\x00?#\r\n]", text)[0] for text in texts}
    texts |= {unicodedata.normalize("NFKC", text) for text in texts}
    found = set()
    for text in texts:
        for backslash, parameters, case in product((False, True), repeat=3):
            path = text.replace("\\", "/") if backslash else text
            path = re.sub(r";[^/]*", "", path) if parameters else path
            path = path.lower() if case else path
            found |= {_resolve(path, rest) for rest in ("", " .\t\xa0")}
    return found


def _texts(path: bytes) -> Iterator[str]:
    yield path.decode("latin-1")
    yield path.decode("utf-8", "replace")
    # Decoders that accept overlong forms, as old ones do: C0 AE and E0 80 AE are a dot.
    short = re.sub(rb"[\xc0\xc1][\x80-\xbf]", lambda found: _overlong(found[0]), path)
    short = re.sub(
        rb"(?:\xe0[\x80-\x9f]|\xf0\x80[\x80-\x81])[\x80-\xbf]", lambda found: _overlong(found[0]), short
    )
    yield short.decode("utf-8", "replace")
    # Decoders that accept %uXXXX.
    yield re.sub(r"%u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), path.decode("latin-1"))


def _overlong(form: bytes) -> bytes:
    *_, second, last = (0, *form)
    return bytes([((second & 0x1F) << 6 | last & 0x3F) & 0x7F])


def _resolve(path: str, stripped: str) -> Segments:
    """Resolve dot segments and merge empty ones. `stripped` characters are removed from the end of a segment."""
    found: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del found[-1:]
            continue
        plain = segment.rstrip(stripped) if stripped else segment
        if plain not in {"", "."}:
            found.append(plain)
    return tuple(found)


def admitted(method: str, path: Segments) -> bool:
    """Return whether read:agents suffices for this path: an independent implementation of `stage.RULE`."""
    match path:
        case ("v1", "agents") | ("v1", "agents", _):
            return method == "GET"
        case ("v1", "public", *_):
            # The prefix includes `/v1/public/` itself, as docs/proxies.md says: many servers read it without its slash.
            return method == "GET"
    return False
