"""Clients with a metadata document: fetched rarely, cached for minutes, and never trusted because of a stranger."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ostiary.auth.rates import Rates
from ostiary.core.instant import MINUTE, SECOND
from ostiary.core.model import OAuthClient
from ostiary.http.client_documents import ClientDocuments, DocumentError
from ostiary.http.outbound import REASONS, Fetched, OutboundError
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
from ostiary.services import consents
from ostiary.services.consents import ConsentRequest
from ostiary.storage import clients as rows
from tests.cast import House

URL = "https://app.test/client.json"
KEYS_AT = "https://app.test/keys.json"
HERE = ip_address("192.0.2.1")
KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


@dataclass
class Net:
    """The edge of the network: the documents at each URL, and the requests for them."""

    pages: dict[str, Fetched | OutboundError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, url: str, value: Any, caching: str = "", kind: str = "application/json") -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.pages[url] = Fetched(body, kind, caching)

    def __call__(self, url: str, **how: Any) -> Fetched:
        assert how["accept"] == "application/json"
        self.asked.append(url)
        found = self.pages[url]
        if isinstance(found, OutboundError):
            raise found
        return found


@dataclass
class Scene:
    house: House
    net: Net
    documents: ClientDocuments

    def resolve(self, url: str = URL, address: str = "192.0.2.1") -> OAuthClient:
        return self.documents.resolve(url, ip_address(address))

    def refused(self, url: str = URL, address: str = "192.0.2.1") -> DocumentError:
        with pytest.raises(DocumentError) as caught:
            self.resolve(url, address)
        return caught.value


@pytest.fixture
def scene(house: House, tmp_path: Path) -> Iterator[Scene]:
    key = house.store.installation.keyring.permits
    permits = MappedRateLimitStore(tmp_path / "failures", key, 4096)
    limits, net = Rates(permits, house.clock), Net()
    yield Scene(house, net, ClientDocuments(house.store, limits, frozenset(), net))
    permits.close()


def document(**more: Any) -> dict[str, Any]:
    return {"client_id": URL, "client_name": "Agent", "redirect_uris": ["https://app.test/cb"]} | more


def test_a_document_is_a_client(scene: Scene) -> None:
    """System 5 breaks: a client that publishes its metadata cannot ask anybody for consent."""
    scene.net.put(URL, document(scope="read:agents"))
    client = scene.resolve()
    assert (client.id, client.source, client.access, client.name) == (URL, "document", "user", "Agent")
    assert (client.redirect_uris, client.scopes) == (("https://app.test/cb",), ("read:agents",))
    assert scene.house.store.read(rows.find, URL) is None  # nobody consented


def test_scopes_that_do_not_exist_are_left_out(scene: Scene) -> None:
    """RFC 7591 §2 breaks: a client whose document was written for many servers cannot request any scope."""
    scene.net.put(URL, document(scope="openid  profile read:agents offline_access"), "no-store")
    assert scene.resolve().scopes == ("read:agents", "offline_access")
    scene.net.put(URL, document(scope="openid profile offline_access"), "no-store")
    assert scene.resolve().scopes == ()


@pytest.mark.parametrize(
    ("caching", "seconds"),
    [("", 300), ("max-age=60", 60), ("public, max-age=999999", 3600), ("max-age=0", 0), ("no-store", 0),
     ("No-Cache, max-age=60", 0), ("max-age=x", 300), ("max-age=600, max-age=20", 20)],
)  # fmt: skip
def test_how_long_a_document_is_believed(scene: Scene, caching: str, seconds: int) -> None:
    """B7 breaks: a redirect URI that was removed from a document is accepted for longer than the document
    allows, or 1 h.
    """
    scene.net.put(URL, document(), caching)
    scene.resolve()
    scene.net.put(URL, document(redirect_uris=["https://app.test/other"]), caching)
    if seconds:
        scene.house.clock.advance(seconds * SECOND - 1)
        assert scene.resolve().redirect_uris == ("https://app.test/cb",)
        scene.house.clock.advance(1)
    assert scene.resolve().redirect_uris == ("https://app.test/other",)
    assert len(scene.net.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        OutboundError("inside"),
        OutboundError("status"),
        OutboundError("size"),
        OutboundError("time"),
        Fetched(b"{", "application/json"),
        Fetched(b"[]", "application/json"),
        Fetched(json.dumps(document()).encode(), "text/html"),
        Fetched(json.dumps(document(client_id=URL + "x")).encode(), "application/json"),
        Fetched(json.dumps(document(redirect_uris=["http://app.test/"])).encode(), "application/json"),
        Fetched(json.dumps(document(client_secret="x")).encode(), "application/json"),
    ],
)  # fmt: skip
def test_what_is_no_document(scene: Scene, answer: Fetched | OutboundError) -> None:
    """B7 breaks: something else is accepted as a client's document, or the failure is cached."""
    scene.net.pages[URL] = answer
    assert scene.refused().retry_after is None
    scene.net.put(URL, document())
    assert scene.resolve().name == "Agent"


@pytest.mark.promise("P18")
def test_a_stranger_does_not_learn_why_nothing_was_fetched(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """P18 breaks: a person who names URLs learns which hosts are internal, or the operator does not see the cause."""
    told = set()
    for reason, cause in REASONS.items():
        scene.net.pages[URL] = OutboundError(reason)
        told.add(str(scene.refused(URL, f"192.0.2.{len(reason)}")))
        read = capsys.readouterr()
        assert cause in read.out + read.err
        scene.house.clock.advance(MINUTE)
    assert len(told) == 1


@pytest.mark.parametrize("url", ["http://app.test/c", "https://app.test/", "https://app.test", "https://app.test/c?x=1",
                                 "https://a@app.test/c", "https://app.test/c#x", "app_1", ""])  # fmt: skip
def test_what_is_no_address_of_a_document(scene: Scene, url: str) -> None:
    """B7, P18 break: a URL that is not allowed for documents is fetched."""
    scene.refused(url)
    assert scene.net.asked == []


def test_fetches_are_limited(scene: Scene) -> None:
    """P20 breaks: one stranger can trigger unlimited fetches, or many strangers can from one host."""
    urls = [f"https://h{number}.test/c" for number in range(11)]
    for url in urls:
        scene.net.put(url, document(client_id=url))
    for url in urls[:10]:
        scene.resolve(url)
    assert scene.refused(urls[10]).retry_after is not None
    assert len(scene.net.asked) == 10
    scene.resolve(urls[3])  # what is remembered costs nothing
    assert scene.resolve(urls[10], "198.51.100.7").id == urls[10]
    several = [f"https://app.test/{number}" for number in range(61)]
    for number, url in enumerate(several):
        scene.net.put(url, document(client_id=url))
        if number < 60:
            scene.resolve(url, f"203.0.113.{number}")
    assert scene.refused(several[60], "203.0.113.99").retry_after is not None


def test_a_consent_keeps_what_the_document_said(scene: Scene) -> None:
    """System 5 breaks: nobody can consent to such a client, its row becomes stale, or a disabled client is
    re-enabled.
    """
    house = scene.house
    scene.net.put(URL, document(), "no-store")
    first = scene.resolve()
    house.store.write(consents.give, house.alice, ConsentRequest(first, house.acme.id, ("read:agents",)))
    assert house.store.read(rows.find, URL) == first
    house.clock.advance(MINUTE)
    scene.net.put(URL, document(client_name="Agent 2"), "no-store")
    second = scene.resolve()
    assert (second.name, second.created_at) == ("Agent 2", first.created_at)
    house.store.write(consents.give, house.alice, ConsentRequest(second, house.acme.id, ("read:agents",)))
    assert house.store.read(rows.find, URL) == second
    house.store.write_on((), lambda tx: rows.update(tx, URL, {"disabled_at": tx.now}))
    assert scene.resolve().disabled_at is not None


def test_keys_by_their_address(scene: Scene) -> None:
    """P14 breaks: keys are cached for too long, fetched for each token, or a new key is never found."""
    scene.net.put(URL, document(token_endpoint_auth_method="private_key_jwt", jwks_uri=KEYS_AT))
    client = scene.resolve()
    scene.net.put(KEYS_AT, {"keys": [KEY | {"kid": "1"}]})
    asked = scene.net.asked
    assert [each.id for each in scene.documents.jwks_of(client, "1")] == ["1"]
    scene.net.put(KEYS_AT, {"keys": [KEY | {"kid": "2"}]})
    house = scene.house
    assert [each.id for each in scene.documents.jwks_of(client, "2")] == ["1"]
    assert asked.count(KEYS_AT) == 1
    house.clock.advance(MINUTE)
    assert [each.id for each in scene.documents.jwks_of(client, "1")] == ["1"]
    assert asked.count(KEYS_AT) == 1
    assert [each.id for each in scene.documents.jwks_of(client, "2")] == ["2"]
    house.clock.advance(5 * MINUTE)
    assert asked.count(KEYS_AT) == 2
    scene.net.pages[KEYS_AT] = OutboundError("status")
    with pytest.raises(DocumentError):
        scene.documents.jwks_of(client, "2")


def test_keys_in_the_metadata(scene: Scene) -> None:
    """P14 breaks: a client's own keys are not found, or are fetched from a URL."""
    scene.net.put(URL, document(token_endpoint_auth_method="private_key_jwt", jwks={"keys": [KEY]}))
    [key] = scene.documents.jwks_of(scene.resolve())
    assert (key.algorithm, key.id) == ("EdDSA", None)
    assert scene.net.asked == [URL]
