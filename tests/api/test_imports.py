"""Imported keys in requests: their owner, their access, and which keys are never looked up."""

import tracemalloc
from hashlib import sha256
from typing import Any

import pytest

from ostiary.core import secret
from ostiary.services import credentials, imports, service_accounts
from tests.cast import Answer, Front
from tests.services.questions import events
from tests.watch import statements

PREFIX = "sk_live_"
KEYS = [f"{PREFIX}{number:032x}" for number in range(5)]


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def bring(front: Front, *texts: str, **body: Any) -> Answer:
    """Import these keys for Robo, who may read agents."""
    house = front.house
    house.store.write(imports.register_prefix, house.alice, PREFIX)
    owner = house.account().account.id
    keys = [{"sha256": digest(text)} for text in texts]
    return front.ask(
        "POST",
        "/v1/credentials/import",
        {"prefix": PREFIX, "owner": owner, "keys": keys} | body,
        house.alice_key,
    )


def test_a_key_that_was_refused_is_accepted_once_it_is_imported(front: Front) -> None:
    """Import breaks: a key that was tried before its import is still refused after it."""
    front.house.store.write(imports.register_prefix, front.house.alice, PREFIX)
    for _ in range(2):  # first from the database, then from memory
        assert front.verify(KEYS[0])["code"] == "unknown"
    assert bring(front, *KEYS).json()["imported"] == 5
    assert front.verify(KEYS[0])["code"] == "valid"


def test_an_imported_key_verifies_and_dies_like_any_other(front: Front) -> None:
    """P1 breaks: an imported key is accepted after its revocation, or is never accepted."""
    house = front.house
    told = bring(front, *KEYS).json()
    assert (told["imported"], told["skipped"], len(told["credentials"])) == (5, 0, 5)
    for text, credential in zip(KEYS, told["credentials"], strict=True):
        for _ in range(2):  # first from the database, then from memory
            found = front.verify(text, scopes=["read:agents"])
            assert (found["code"], found["credential_id"]) == ("valid", credential)
    assert front.ask("GET", "/v1/agents", key=KEYS[0]).status == 200
    bearer = front.ask("GET", "/v1/agents", headers={"authorization": f"Bearer {KEYS[0]}"})
    assert bearer.status == 200
    listed = front.ask("GET", f"/v1/credentials/{told['credentials'][0]}", key=house.alice_key).json()
    assert (listed["last6"], listed["display"], listed["kind"]) == (None, f"{PREFIX}…", "api_key")
    house.store.write(credentials.revoke, house.alice, told["credentials"][0])
    assert front.ask("GET", "/v1/agents", key=KEYS[0]).status == 401
    assert front.verify(KEYS[0])["code"] == "revoked"
    house.store.write(service_accounts.set_disabled, house.alice, listed["owner"]["id"], True)
    assert front.verify(KEYS[1])["code"] == "disabled"
    front.write_counts()
    used = [each.target_display for each in events(house) if each.action == "credential.used"]
    assert "Robo's API key (imported)" in used


def test_without_its_prefix_nothing_is_looked_up(front: Front) -> None:
    """P20 breaks: any string costs a query, or an imported key is accepted under a prefix that is not registered."""
    house = front.house
    assert bring(front, KEYS[0]).status == 200
    assert front.verify(KEYS[0])["valid"]
    house.store.write(imports.unregister_prefix, house.alice, PREFIX)
    assert front.verify(KEYS[0])["code"] == "malformed"
    front.verify("nothing")
    with statements(house.store.engines) as queries:
        for text in (KEYS[0], "sk_live", "xx_live_1", "", "sk_test_" + "0" * 32):
            assert not front.verify(text)["valid"]
    assert queries == []
    house.store.write(imports.register_prefix, house.alice, PREFIX)
    assert front.verify(KEYS[0])["valid"]
    assert front.verify(KEYS[1])["code"] == "unknown"


def test_the_synthetic_id_of_an_imported_key_opens_nothing(front: Front) -> None:
    """P14 breaks: a person who knows an imported key's public id can construct an accepted key from it."""
    told = bring(front, KEYS[0]).json()
    listed = front.ask("GET", f"/v1/credentials/{told['credentials'][0]}", key=front.house.alice_key).json()
    body = f"ak-{listed['access_id']}{'0' * secret.RANDOM_LENGTH}"
    forged = body + secret.checksum(body.encode())
    assert front.verify(forged)["code"] == "unknown"


def test_a_batch_may_be_two_mebibytes_and_nothing_else_may(front: Front) -> None:
    """B1 breaks: a full batch is refused, or another endpoint accepts bodies of that size."""
    texts = [f"{PREFIX}{number}" for number in range(5000)]
    answer = bring(front, *texts, exceed_limits=True)
    assert (answer.status, answer.json()["imported"]) == (200, 5000)
    again = bring(front, *texts)
    assert (again.json()["imported"], again.json()["skipped"]) == (0, 5000)
    big = b"{" + b" " * 70_000 + b"}"
    assert front.ask("POST", "/v1/api-keys", raw=big, key=front.house.alice_key).status == 413
    huge = b"{" + b" " * (2 * 1024 * 1024) + b"}"
    assert front.ask("POST", "/v1/credentials/import", raw=huge, key=front.house.alice_key).status == 413


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"keys": []}, ["/keys"]),
        (
            {"keys": [{"sha256": "00"}, {"sha256": "0" * 64, "secret": "x"}]},
            ["/keys/0/sha256", "/keys/1/secret"],
        ),
        ({"keys": [{"sha256": "g" * 64}] * 300}, [f"/keys/{number}/sha256" for number in range(100)]),
        ({"keys": [{"sha256": "0" * 64}] * 5001}, ["/keys"]),
        ({"prefix": "sk"}, ["/prefix"]),
        ({"prefix": "other_"}, ["/prefix"]),
        ({"keys": [{"sha256": "0" * 64, "expires_at": "2027-01-31T00:00"}]}, ["/keys/0/expires_at"]),
    ],
)
def test_a_wrong_batch_names_its_fields(front: Front, body: dict[str, Any], pointers: list[str]) -> None:
    """B8 breaks: an invalid import is partly carried out, or its list of errors is unlimited."""
    answer = bring(front, "a", **body)
    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == pointers
    assert "credentials.imported" not in {each.action for each in events(front.house)}


def nested(levels: int, values: int) -> bytes:
    """Return a long list below fields with long names. The pointer of each element would be as long as all of them."""
    name = "k" * 64
    return (f'{{"{name}":' * levels + "[" + ",".join("1" * values) + "]" + "}" * levels).encode()


@pytest.mark.promise("P20")
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/credentials/import"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" + b",".join([b'"\\u0000"'] * 7_000) + b"]", 422),
        (b'{"a":[' + b",".join([b'{"\\u0000":1}'] * 4_000) + b"]}", 422),
        (b'{"a":{"\\ud800":["\\u0000"]}}', 422),
        (nested(20, 20_000), 422),
        (nested(4, 30_000), 400),
    ],
    ids=["texts", "names", "below a name that is no text", "deep", "too many values"],
)
def test_an_absurd_body_costs_what_its_length_does(front: Front, path: str, body: bytes, status: int) -> None:
    """P20 breaks: a small body from a caller without access uses, or returns, tens of megabytes."""
    front.ask("POST", path, raw=b"{}", key=front.house.alice_key)
    tracemalloc.start()
    answer = front.ask("POST", path, raw=body, key=front.house.alice_key)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status == status, answer.body[:200]
    assert len(answer.json().get("errors", ())) <= 100
    assert len(answer.body) < 64_000
    assert peak < 12_000_000


@pytest.mark.promise("P7")
def test_a_key_is_not_its_own_name(front: Front) -> None:
    """P7 breaks: a batch whose key names are the keys themselves is stored, and shown in every list."""
    keys = [{"sha256": digest(KEYS[0])}, {"name": KEYS[1], "sha256": digest(KEYS[1])}]
    answer = bring(front, keys=keys)
    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/keys/1/name"]
    assert KEYS[1] not in answer.body.decode()
