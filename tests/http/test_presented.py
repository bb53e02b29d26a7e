"""B2: how a credential is presented, and the one neutral refusal."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from ostiary.core.instant import DAY
from ostiary.services import credentials, service_accounts
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import members as member_rows
from ostiary.storage.store import Tx
from tests.cast import Answer, Front
from tests.http.test_verify import never_made, wrong_secret
from tests.watch import statements

ADDRESSES = (
    ("GET", "/v1/capabilities"),
    ("GET", "/v1/authorize/-"),
    ("POST", "/v1/verify"),
    ("GET", "/v1/service-accounts"),
    ("DELETE", "/v1/credentials/x"),
)
Fields = list[tuple[str, str]]


def everywhere(front: Front, fields: Fields) -> Iterator[Answer]:
    for method, target in ADDRESSES:
        yield front.ask(method, target, headers=fields)


def without_ids(answer: Answer) -> tuple[int, dict[str, str], object]:
    """The response without the parts that differ between requests."""
    body = answer.json()
    request_id = body.pop("instance", None)
    fields = dict(answer.headers)
    assert fields.pop("x-request-id", None) == request_id
    fields.pop("content-length")
    return answer.status, fields, body


def wire(text: str) -> str:
    """Text as a client sends it: UTF-8 bytes, each as one character."""
    return text.encode().decode("latin-1")


def mangled(key: str) -> dict[str, Fields]:
    """Malformed variants of the key, by what is wrong with them."""

    def sent(text: str) -> Fields:
        return [("x-api-key", wire(text))]

    return {
        "unknown scheme": [("authorization", f"Basic {key}")],
        "scheme of one letter more": [("authorization", f"ApiKeys {key}")],
        "no scheme": [("authorization", key)],
        "bearer twice": [("authorization", f"Bearer Bearer {key}")],
        "over 512 bytes": sent(key + "a" * (513 - len(key))),
        "a token over 8 KiB": [("authorization", f"Bearer {'a.' * 4097}")],
        "no signature that we know": [("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.")],
        "not ASCII": sent(key[:-1] + "é"),
        "zero width inside": sent(key[:20] + "\u200b" + key[20:]),
        "zero width before": sent("\u200b" + key),
        "no-break space": sent(key + "\u00a0"),
        "full-width digits": sent(key.translate({ord(d): ord(d) + 0xFEE0 for d in "0123456789"})),
        "inner space": sent(key[:20] + " " + key[20:]),
        "inner tab": sent(key[:20] + "\t" + key[20:]),
        "quotes": sent(f'"{key}"'),
        "apostrophes": sent(f"'{key}'"),
        "comma": sent(f"{key},{key}"),
        "prefix in capitals": sent(key.upper()[:3] + key[3:]),
        "another prefix": sent("xx" + key[2:]),
        "no prefix": sent(key[3:]),
        "access id in capitals": sent(key[:3] + key[3:35].upper() + key[35:]),
        "wrong checksum": sent(key[:-1] + ("a" if key[-1] != "a" else "b")),
        "one short": sent(key[:-1]),
        "one long": sent(key + "a"),
        "prefix alone": sent("ak-"),
        "the access id": sent(key[:35]),
        "what lists show": sent(f"{key[:35]}…{key[-6:]}"),
    }


@pytest.mark.promise("P20")
def test_what_cannot_be_a_key_is_refused_without_a_look_up(front: Front) -> None:
    """B2 breaks: a malformed credential costs a query, or its refusal differs from that of other bad ones."""
    key = front.house.key(front.house.account()).secret.reveal()
    front.verify(never_made())  # from here on the cache is up to date; it does not contain the key
    neutral = without_ids(front.ask("GET", "/v1/capabilities", key=never_made()))[2]
    with statements(front.house.store.engines) as seen:
        for what, fields in mangled(key).items():
            for answer in everywhere(front, fields):
                assert answer.status == 401, what
                assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"', what
                assert without_ids(answer)[2] == neutral, what
        assert seen == []


@pytest.mark.parametrize(
    "fields",
    [
        [("x-api-key", "")],
        [("x-api-key", " \t ")],
        [("api-key", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer  ")],
        [("authorization", "ApiKey ")],
        [("x-api-key", ""), ("api-key", "")],
    ],
    ids=repr,
)
def test_an_empty_credential_is_a_bad_request(front: Front, fields: Fields) -> None:
    """B2 breaks: an empty value is treated as a missing credential, or as a bad one."""
    for answer in everywhere(front, fields):
        assert (answer.status, answer.json()["code"]) == (400, "invalid-request")


def test_no_credential_is_asked_for(front: Front) -> None:
    """B2 breaks: the challenge names an error although no credential was presented."""
    for answer in everywhere(front, []):
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_every_way_to_send_a_key_alone_and_together(front: Front) -> None:
    """API breaks: the same key in several headers is refused, or one of several different keys is used."""
    key = front.house.alice_key
    ways = [("x-api-key", ""), ("api-key", ""), ("authorization", "ApiKey ")]
    for number in (1, 2, 3):
        for chosen in itertools.combinations(ways, number):
            same = [(name, scheme + key) for name, scheme in chosen]
            for order in itertools.permutations(same):
                assert front.ask("GET", "/v1/capabilities", headers=list(order)).status == 200
            for odd, other in itertools.product(range(number), (never_made(), front.house.charlie_key, "")):
                if number == 1:
                    continue
                differing = [*same[:odd], (chosen[odd][0], chosen[odd][1] + other), *same[odd + 1 :]]
                for answer in everywhere(front, differing):
                    assert answer.status == 400, (chosen, odd)
            with_bearer = [*same, ("authorization", f"Bearer {key}")]
            for fields in (with_bearer, with_bearer[::-1]):
                assert front.ask("GET", "/v1/capabilities", headers=fields).status == 400
    for value in (f"Bearer {key}", f"bearer {key}", f"BEARER  {key} ", f"apikey {key}", f"APIKEY {key}"):
        assert front.ask("GET", "/v1/capabilities", headers=[("authorization", value)]).status == 200
    assert front.ask("GET", "/v1/capabilities", headers=[("x-api-key", f" {key}\t")]).status == 200
    twice = [("authorization", f"Bearer {key}")] * 2
    assert front.ask("GET", "/v1/capabilities", headers=twice).status == 400


@pytest.mark.parametrize(
    "query",
    ["access_token={}", "token={}", "api_key={}", "ACCESS_TOKEN={}", "x=1&token={}", "access%5ftoken={}",
     "%61ccess_token={}", "token=", "token"],
)  # fmt: skip
def test_a_credential_in_a_query_is_refused(front: Front, query: str) -> None:
    """B2 breaks: a secret in a URL, which logs on the way store, is accepted or ignored."""
    key = front.house.alice_key
    for method, target in ADDRESSES:
        if "authorize" in target:  # that query is the client's, passed on by the proxy, and is not read
            continue
        for fields in ([], [("x-api-key", key)]):
            answer = front.ask(method, f"{target}?{query.format(key)}", headers=fields)
            assert answer.status == 400
            assert key[35:-6] not in answer.body.decode()


def test_every_bad_credential_gets_the_same_refusal(front: Front) -> None:
    """B2 breaks: a client can tell why its credential was refused."""
    house = front.house
    keys = {"malformed": "nonsense", "unknown": never_made()}

    def made(name: str, **spec: Any) -> str:
        created = house.key(house.account(name), **spec)
        keys[name] = created.secret.reveal()
        return created.listed.credential.id

    def account_of(credential_id: str) -> str:
        return house.store.read(credentials.get, house.alice, credential_id).credential.owner_id

    made("wrong secret")
    keys["wrong secret"] = wrong_secret(keys["wrong secret"])
    quick = house.with_policy(deletion_delay=0).store
    house.store.write(credentials.revoke, house.alice, made("revoked"))
    house.store.write(credentials.deactivate, house.alice, made("deactivated"))
    quick.write(credentials.delete, house.alice, made("deleted"))
    house.store.write(service_accounts.set_disabled, house.alice, account_of(made("disabled")), True)
    house.store.write(service_accounts.delete, house.alice, account_of(made("account deleted")))
    bob = house.store.write(credentials.create_direct, house.bob, CredentialSpec())
    keys["member removed"] = bob.secret.reveal()
    house.store.write_on((), member_rows.delete_member, house.acme.id, str(house.bob.actor.id))
    keys["suspended"] = house.charlie_key

    def suspend(tx: Tx) -> None:
        tx.execute(
            sa.text("UPDATE organizations SET suspended_at = 1 WHERE id = :id").bindparams(
                id=house.umbrella.id
            )
        )

    house.store.write_on((), suspend)
    made("expired", expires_at=house.clock.now + DAY)
    house.clock.advance(DAY)
    for method, target in ADDRESSES:
        seen = {name: front.ask(method, target, key=key) for name, key in keys.items()}
        for name, answer in seen.items():
            assert answer.status == 401, (target, name)
            assert without_ids(answer) == without_ids(seen["unknown"]), (target, name)
            if "instance" not in answer.json():
                assert answer.body == seen["unknown"].body, (target, name)
        assert len({answer.headers["content-length"] for answer in seen.values()}) == 1
    assert len(keys) == 11
