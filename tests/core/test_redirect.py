"""Redirect URIs: which may be registered, and which registration a request matches (P13; RFC 8252 §7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.redirect import host_of, origin_of_redirect, redirect_matches, redirect_uri
from ostiary.core.url import read_url

pytestmark = pytest.mark.promise("P13")

WEB = "https://app.example.com/oauth/callback"
LOOPBACK = "http://127.0.0.1:4711/callback"


def beside(uri: str, host: str, path: str) -> list[str]:
    """Return URIs that resemble this URI but differ from it. `host` includes the port."""
    scheme = uri.partition(":")[0]
    evil = "evil.example"
    return [
        # Case, and trailing slashes
        uri.upper(), uri.replace(scheme, scheme.upper(), 1), uri.replace(path, path.upper()), uri.replace(path,
        path.title()),
        f"{uri}/", f"{uri}//", uri.replace(path, "/" + path), uri.replace(path, ""), uri.replace(path, "/"),
        uri.replace(path, path + ";"), uri.replace(path, path + ";jsessionid=1"), uri.replace(path, path + "x"),
        uri[:-1],
        # Query and fragment
        f"{uri}?", f"{uri}?a=b", f"{uri}?next=//{evil}", f"{uri}#", f"{uri}#a", f"{uri}?#", f"{uri}&a=b",
        f"{uri}%3Fa=b", f"{uri}%23",
        # Other hosts
        uri.replace(host, f"{host}@{evil}"), uri.replace(host, f"{evil}@{host}"), uri.replace(host, f"a:b@{host}"),
        uri.replace(host, f"@{host}"), uri.replace(host, f"{host}@a@{evil}"), uri.replace(host, f"a@{evil}@{host}"),
        uri.replace(host, f"{host}.{evil}"), uri.replace(host, f"{evil}.{host}"), uri.replace(host, f"{host}."),
        uri.replace(host, f"{host}%00.{evil}"), uri.replace(host, f"{host}%2f.{evil}"), uri.replace(host,
        f"{host}%40{evil}"),
        uri.replace(host, f"{host}\\@{evil}"), uri.replace(host, f"{evil}\\{host}"), uri.replace(host,
        f"{evil}#{host}"),
        uri.replace(host, f"{evil}?{host}"), uri.replace(host, f"{evil}/{host}"), uri.replace(host, f"*.{host}"),
        f"//{evil}", f"//{host}{path}", f"/{evil}", path, f"https://{evil}{path}", f"{uri} https://{evil}",
        f"{uri},https://{evil}",
        # Slashes
        uri.replace("//", "/", 1), uri.replace("//", "///", 1), uri.replace("//",
        "\\\\", 1), uri.replace("//", "", 1),
        uri.replace(path, path.replace("/", "\\")), f"{uri}\\", f"{uri}/..", f"{uri}/../", f"{uri}/..;/",
        f"{uri}/../../{evil}",
        f"{uri}/%2e%2e", f"{uri}/%2E%2E/x", f"{uri}/.%2e/", f"{uri}/.", f"{uri}%2f..", f"{uri}%5c..",
        f"{uri}%252e%252e",
        uri.replace(path, f"/x/..{path}"), uri.replace(path, f"/.{path}"), uri.replace(path, f"/%2e{path}"),
        # Percent-encoding, look-alike letters, invisible characters
        uri.replace("callback", "%63allback"), uri.replace("callback", "c\u0430llback"), uri.replace("a", "\u0430",
        1),
        uri.replace(".", "\u3002", 1), uri.replace("/", "\uff0f", 1), uri.replace("callback", "call\u200bback"),
        f"\ufeff{uri}",
        f"{uri}\t", f"{uri}\n", f"{uri}\r\n", f" {uri}", f"{uri} ", f"\t{uri}", uri.replace("//", "/\t/", 1),
        uri.replace("callback", "call\nback"), uri.replace("callback", "call\tback"), f"{uri}\0",
        uri.replace("callback", "call\0back"),
        f"{uri}%00", f"{uri}%0d%0aSet-Cookie:a=b", f"{uri}\u2028", f"{uri}\x85", uri.replace(host, host.replace(".",
        "\t.", 1)),
        # Other schemes
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", f"javascript://{host}{path}",
        f"javascript:{uri}",
        "data:text/html,x", "DATA:text/html;base64,eA==", "vbscript:x", "blob:" + uri, "view-source:" + uri,
        "file:///etc/passwd",
        "about:blank", f"ftp://{host}{path}", f"ws://{host}{path}", f"com.example.app:{path}",
        "urn:ietf:wg:oauth:2.0:oob",
        # Empty and oversized
        "", " ", scheme, f"{scheme}:", f"{scheme}://", uri + "a" * 10_240, uri.replace(host, "a" * 10_240),
    ]  # fmt: skip


BESIDE_WEB = [
    *beside(WEB, "app.example.com", "/oauth/callback"),
    WEB.replace("https", "http"), WEB.replace("com/", "com:443/"), WEB.replace("com/", "com:8443/"),
    WEB.replace("com/", "com:/"),
    WEB.replace("app.", "App."), WEB.replace("app.", "xn--pp-7lc."), WEB.replace("app.", ""), WEB.replace("com",
    "co"),
    WEB.replace("app.example.com", "[::1]"), WEB.replace("app.example.com", "127.0.0.1"),
    WEB.replace("app.example.com", "localhost"),
]  # fmt: skip
BESIDE_LOOPBACK = [
    *beside(LOOPBACK, "127.0.0.1:4711", "/callback"),
    LOOPBACK.replace("http", "https"), *(LOOPBACK.replace("127.0.0.1", host) for host in (
        "localhost", "[::1]", "127.1", "127.0.0.2", "127.000.000.001", "0177.0.0.1", "0x7f.0.0.1", "2130706433",
        "0x7f000001", "0.0.0.0",
        "[::ffff:127.0.0.1]", "[::1%25eth0]", "[0:0:0:0:0:0:0:1]", "::1", "127.0.0.1.nip.io",
        "localhost.localdomain", "LOCALHOST",
        "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "①27.0.0.1",
    )), *(LOOPBACK.replace("4711", port) for port in (
        "", "0", "04711", "65536", "99999", "123456", "-1", "+80", "4711:80", "4711 ", "47 11", "\uff14711",
        "4711@evil.example", "1e3",
        "4711\\@evil.example", "80@evil.example:80",
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    "registered, corpus",
    [(WEB, BESIDE_WEB), (LOOPBACK, BESIDE_LOOPBACK), (LOOPBACK.replace(":4711", ""), BESIDE_LOOPBACK)],
    ids=["web", "loopback", "loopback without a port"],
)
def test_nothing_beside_a_registered_uri_is_it(registered: str, corpus: list[str]) -> None:
    """P13 breaks: an authorization code is sent to someone other than the client."""
    asked = {each for each in corpus if each != registered}
    escapes = [each for each in asked if redirect_matches(registered, each)]
    print(f"{registered}: {len(asked)} forms, {len(escapes)} escapes")
    assert len(asked) >= 60
    assert escapes == []


@pytest.mark.parametrize(
    "registered, asked",
    [
        (WEB, WEB),
        (f"{WEB}?a=b", f"{WEB}?a=b"),
        ("com.example.app:/cb", "com.example.app:/cb"),
        (LOOPBACK, LOOPBACK),
        (LOOPBACK, "http://127.0.0.1:1/callback"),
        (LOOPBACK, "http://127.0.0.1:65535/callback"),
        (LOOPBACK, "http://127.0.0.1/callback"),
        ("http://127.0.0.1/callback", LOOPBACK),
        ("http://[::1]/cb?a=b", "http://[::1]:4711/cb?a=b"),
        ("http://localhost:3000", "http://localhost:3001"),
        ("http://localhost:3000/", "http://localhost:3001/"),
    ],
)
def test_what_was_registered_is_found(registered: str, asked: str) -> None:
    """RFC 8252 §7.3 breaks: people cannot sign in to an application that listens on an arbitrary free port."""
    assert redirect_matches(registered, asked)


@pytest.mark.parametrize(
    "registered, asked",
    [
        ("http://localhost:3000", "http://localhost:3001/"),
        ("http://localhost/cb?a=b", "http://localhost:1/cb?a=c"),
        ("http://localhost/cb?a=b", "http://localhost:1/cb"),
        ("https://localhost/cb", "https://localhost:1/cb"),
        ("https://127.0.0.1:1/cb", "https://127.0.0.1:2/cb"),
        ("http://127.0.0.2:1/cb", "http://127.0.0.2:2/cb"),
        ("com.example.app:/cb", "com.example.app://cb"),
        ("com.example.app:/cb", "COM.example.app:/cb"),
        ("com.example.app:/cb", "com.example.app:/cb?a=b"),
        ("com.example.app:/cb", "com.example.apps:/cb"),
    ],
)
def test_only_the_port_of_loopback_may_differ(registered: str, asked: str) -> None:
    """P13 breaks: parts of a loopback URI other than the port are ignored."""
    assert not redirect_matches(registered, asked)


@given(st.text(max_size=30), st.text(max_size=30))
def test_what_matches_is_the_same_place(one: str, other: str) -> None:
    """P13 breaks: different URIs match although neither is a loopback URI."""
    assert redirect_matches(one, other) is (one == other)
    for registered in (WEB, LOOPBACK):
        if redirect_matches(registered, registered + one):
            assert not one
        if redirect_matches(registered, f"http://127.0.0.1:{one}/callback"):
            assert read_url(f"http://127.0.0.1:{one}/callback").host == "127.0.0.1"


@pytest.mark.parametrize(
    "uri",
    [
        WEB,
        LOOPBACK,
        "https://app.example.com",
        "https://app.example.com:8443/cb?a=b&c=%20d",
        "https://intranet/cb",
        "https://xn--bcher-kva.example/cb",
        "https://203.0.113.7/cb",
        "https://[2001:db8::1]/cb",
        "http://127.0.0.1/cb",
        "http://[::1]:1/cb",
        "http://localhost/cb",
        "com.example.app:/cb",
        "com.example.app:/",
        "com.example.app://cb/x?a=b",
        "com.googleusercontent.apps.123-abc:/oauth2redirect",
        "https://a.example/" + "a" * 2030,
        "cursor://anysphere.cursor-retrieval/oauth/user-tools/callback",
        "vscode://ms-vscode.mcp/callback",
        "vscode-insiders://x/cb",
        "app:/cb",
        "io.example://cb",
    ],
)
def test_these_may_be_registered(uri: str) -> None:
    """RFC 8252 §7 breaks: an application that follows the RFC cannot be registered."""
    assert redirect_uri(uri) == uri
    assert redirect_matches(uri, uri)
    assert origin_of_redirect(uri)
    assert host_of(uri)


REFUSED = {
    "must have at most 2048": ["https://a.example/" + "a" * 2031, "https://a.example/" + "a" * 10_240],
    "must not contain white space": [
        f"{WEB}\t", f"{WEB}\n", f" {WEB}", f"{WEB}\0", "https://app.example.com\\@evil.example/",
        "https://аpp.example.com/",
        "https://app.example.com/\u200b", "com.example.app:/a b", "java\tscript:x", "https:\\\\app.example.com",
        f"{WEB}\x7f",
    ],
    "must not have a fragment": [f"{WEB}#", f"{WEB}#a", f"{LOOPBACK}#a", "com.example.app:/cb#a"],
    "must not have a wildcard": ["https://*.example.com/cb", "https://app.example.com/*", "com.example.app:/*", "*"],
    "must begin with": [
        "", "javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "file:///x",
        "about:blank", "blob:x", "c:/cb", "C:/cb", "app:cb", "my_app:/cb", "my+app:/cb",
        "//evil.example", "/cb", "app.example.com/cb", "HTTPS://app.example.com/cb",
        "mailto:a@b.example", "com.example.app",
        "urn:ietf:wg:oauth:2.0:oob", "COM.example.app:/cb", ".app:/cb", "com.:/cb", "com..app:/cb",
        "com.example.app:cb",
        "com.example.app://a@b/", "ws://a.example/", "1.2:/cb", "view-source:https://a.example/",
    ],
    "must be https: http": [
        "http://app.example.com/cb", "http://localhost.example.com/cb", "http://127.0.0.2/cb", "http://10.0.0.1/cb",
        "http://[::2]/cb",
        "http://a.localhost/cb", "http://0.0.0.0/cb",
    ],
    "must be a plain http": [
        "https://a@app.example.com/cb", "https://a:b@app.example.com/cb", "https://@app.example.com/cb",
        "https://a@b@c.example/", "https:///cb",
        "https:/app.example.com", "https:app.example.com", "https://", "https://app.example.com:/cb",
        "https://app.example.com:0/",
        "https://app.example.com:080/", "https://app.example.com/%", "https://app.example.com/%zz",
        "https://app.example.com/<a>",
        "https://app.example.com/{a}", "https://[::1", "https://[::1%25eth0]/", "http://[fe80::1%eth0]/",
        "https://a_b.example/",
    ],
    "has a host that is not": [
        "https://app.example.com./cb", "https://-a.example/", "https://a..example/", f"https://{'a' * 64}.example/",
        "https://[::1::]/", "https://[1.2.3.4]/", "http://localhost./",
    ],
    "canonical": [
        "http://127.1/cb", "http://0177.0.0.1/cb", "http://0x7f.0.0.1/cb", "http://0x7f.1/", "http://2130706433/cb",
        "http://0x7f000001/cb",
        "http://127.000.000.001/cb", "http://[0:0:0:0:0:0:0:1]/cb", "http://[::ffff:127.0.0.1]/",
        "https://[2001:DB8:0::1]/", "https://256.0.0.1/",
        "https://a.1/", "https://a.0x1/", "https://1.2.3.4.5/",
    ],
    "has a port over": ["https://app.example.com:65536/cb", "http://localhost:99999/"],
    "must not contain the path segments": [
        f"{WEB}/..", f"{WEB}/../x", f"{WEB}/%2e%2E/x", f"{WEB}/.%2e", f"{WEB}/./x", "http://localhost/.",
        "https://a.example/%2e",
    ],
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_these_may_not(reason: str) -> None:
    """P13 breaks: a URI can be registered that leads elsewhere than it seems to."""
    for uri in REFUSED[reason]:
        with pytest.raises(ValueError) as caught:
            redirect_uri(uri)
        assert reason in str(caught.value), uri
        assert len(uri) < 16 or uri not in str(caught.value)


ACTED_ON = [
    "javascript", "data", "file", "blob", "about", "view-source", "ftp", "mailto", "tel", "sms", "ws", "wss", "chrome",
    "chrome-extension", "moz-extension", "safari-web-extension", "intent", "jar", "resource", "filesystem", "vbscript",
    "ms-settings", "ms-msdt", "ms-word", "microsoft-edge", "search-ms", "itms-services", "x-apple-helpbasic",
    "android-app", "content", "localhost", "ssh", "smb", "ldap",
]  # fmt: skip


@pytest.mark.parametrize("scheme", ACTED_ON)
def test_what_browsers_and_systems_act_on_is_nobodys_own(scheme: str) -> None:
    """P13 breaks: a code goes to a script, a file or a system program because anyone may register its scheme."""
    for rest in (":/cb", "://cb", ":/%0aalert(1)", ":////evil.example/cb"):
        for read in (redirect_uri, origin_of_redirect, host_of):
            with pytest.raises(ValueError):
                read(scheme + rest)


@given(st.text(alphabet="htps:/.[]@#?%\\ \t127.0localxe-", max_size=40))
def test_nothing_but_a_refusal_is_raised(text: str) -> None:
    """P20 breaks: an unusual URI causes a server error."""
    try:
        uri = redirect_uri(text)
    except ValueError:
        return
    assert host_of(uri)
    assert origin_of_redirect(uri)
    assert not set(origin_of_redirect(uri)) & set(" ;,'\"")


@pytest.mark.parametrize(
    "uri, origin, host",
    [
        (WEB, "https://app.example.com", "app.example.com"),
        ("https://App.Example.com:443/cb", "https://app.example.com", "app.example.com"),
        ("https://app.example.com:8443/cb;a?b,c", "https://app.example.com:8443", "app.example.com"),
        (LOOPBACK, "http://127.0.0.1:4711", "127.0.0.1"),
        ("http://localhost:80/", "http://localhost", "localhost"),
        ("http://[::1]:4711/cb", "http:", "::1"),
        ("com.example.app:/cb", "com.example.app:", "com.example.app"),
    ],
)
def test_what_pages_say_of_it(uri: str, origin: str, host: str) -> None:
    """P13 breaks: a page names another host than the code goes to, or its policy lets forms redirect anywhere."""
    assert (origin_of_redirect(uri), host_of(uri)) == (origin, host)
