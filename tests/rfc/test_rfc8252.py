"""RFC 8252, clause by clause: native applications. The requirements for an authorization server."""

import pytest

from tests.applications import allow, application, redeem, request
from tests.cast import Front
from tests.visitors import Browser

PRIVATE = "com.example.app:/oauth2redirect/example-provider"


def arrives(front: Front, alice: Browser, registered: str, asked: str) -> bool:
    """Return whether the redirect URI gets a code that works, instead of an error page."""
    client = application(front.house, redirect_uris=(registered,))
    page = alice.get(request(client, redirect_uri=asked))
    if page.status == 400:
        assert page.location == ""
        return False
    page = alice.submit(page, "/oauth/authorize", decision="allow")
    assert page.location.startswith(f"{asked}?code=")
    front.house.sign()
    code = page.answer["code"]
    if asked != registered:
        # RFC 6749 §4.1.3: the redirect URI of the request, with its port, and not the registered one.
        assert redeem(front, client, code, redirect_uri=registered).json()["error"] == "invalid_grant"
    return redeem(front, client, code, redirect_uri=asked).status == 200


@pytest.mark.parametrize("uri", [PRIVATE, "com.example.app:/", "org.example-2.app:/cb"])
def test_7_1_a_scheme_of_its_own(front: Front, alice: Browser, uri: str) -> None:
    """RFC 8252 §7.1 breaks: an application with a private-use scheme is refused."""
    assert arrives(front, alice, uri, uri)
    for other in (uri + "x", uri.replace(":/", "://"), uri.upper(), uri.replace("example", "example2")):
        assert not arrives(front, alice, uri, other)


def test_7_2_a_claimed_https_address(front: Front, alice: Browser) -> None:
    """RFC 8252 §7.2 breaks: an application with a claimed https URI is treated differently from a web application."""
    uri = "https://app.example.com/oauth2redirect/example-provider"
    assert arrives(front, alice, uri, uri)
    assert not arrives(front, alice, uri, uri.replace(".com/", ".com:8443/"))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
@pytest.mark.parametrize("registered_port", ["", ":4711"])
def test_7_3_any_port_of_the_loopback(front: Front, alice: Browser, host: str, registered_port: str) -> None:
    """RFC 8252 §7.3 breaks: an application with another loopback port is refused."""
    registered = f"http://{host}{registered_port}/cb"
    for port in (":51004", ":1", ":65535", ":4711", ""):
        assert arrives(front, alice, registered, f"http://{host}{port}/cb")
    for other in (":0", ":65536", ":051004", ":", ":80:80", ":8o"):
        assert not arrives(front, alice, registered, f"http://{host}{other}/cb")


@pytest.mark.parametrize("registered", ["127.0.0.1", "[::1]", "localhost"])
def test_7_3_and_8_3_one_loopback_is_not_another(front: Front, alice: Browser, registered: str) -> None:
    """RFC 8252 §8.3 breaks: `localhost` is accepted for the loopback IP address, or one loopback address for another."""
    others = {"127.0.0.1", "[::1]", "localhost", "127.0.0.2", "127.1", "localhost.", "0.0.0.0"} - {registered}
    for other in sorted(others):
        assert not arrives(front, alice, f"http://{registered}:4711/cb", f"http://{other}:4711/cb")


def test_7_3_the_rest_is_compared_as_it_is(front: Front, alice: Browser) -> None:
    """RFC 8252 §7.3 breaks: besides the port, the path, the query or the scheme may differ."""
    registered = "http://127.0.0.1/cb?a=b"
    for other in (
        "http://127.0.0.1:51004/cb",
        "http://127.0.0.1:51004/cb?a=c",
        "http://127.0.0.1:51004/CB?a=b",
        "http://127.0.0.1:51004/cb/?a=b",
        "https://127.0.0.1:51004/cb?a=b",
        "HTTP://127.0.0.1:51004/cb?a=b",
    ):
        assert not arrives(front, alice, registered, other)


def test_8_1_and_8_6_pkce_for_all_of_them(front: Front, alice: Browser) -> None:
    """RFC 8252 §8.1 breaks: another application on the device that intercepts the code can use it."""
    for uri in (PRIVATE, "http://127.0.0.1/cb"):
        client = application(front.house, redirect_uris=(uri,))
        page = alice.get(request(client, code_challenge=None))
        assert page.answer["error"] == "invalid_request"


def test_8_4_the_whole_address_is_registered(front: Front, alice: Browser) -> None:
    """RFC 8252 §8.4 breaks: a request with a URI that is not registered as a whole gets a redirect."""
    client = application(front.house, redirect_uris=())
    for uri in (PRIVATE, "http://127.0.0.1:51004/cb", "https://app.example/cb"):
        page = alice.get(request(application(front.house), redirect_uri=uri))
        assert (page.status, page.location) == (400, "")
    assert alice.get(f"/oauth/authorize?client_id={client.id}&response_type=code").status == 400


@pytest.mark.parametrize("uri", [PRIVATE, "http://127.0.0.1:51004/cb"])
def test_8_6_nobody_is_answered_without_being_asked(front: Front, alice: Browser, uri: str) -> None:
    """RFC 8252 §8.6 breaks: an application that uses the client id of a consented one gets a code without a question."""
    client = application(front.house, redirect_uris=(uri,))
    assert allow(alice, request(client)).answer["code"]
    assert alice.get(request(client)).status == 200  # consent is requested again
    assert alice.get(request(client, prompt="none")).answer["error"] == "consent_required"
