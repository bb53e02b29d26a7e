"""Signing keys, on both databases."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from ostiary.core import jws
from ostiary.core.instant import DAY, HOUR, MINUTE
from ostiary.core.keyring import derive
from ostiary.core.signing import ACCEPTED_AFTER, LONGEST_TOKEN, PUBLISHED_BEFORE, PURPOSES, KeySet
from ostiary.services import signing_keys
from ostiary.storage import signing_keys as rows
from ostiary.storage import tables
from ostiary.storage.audit import Recorded
from ostiary.storage.fact_cache import FactCache
from ostiary.storage.store import Tx
from tests.cast import House, pair
from tests.services.questions import events, refused


def keys_of(house: House) -> KeySet:
    return house.store.read(rows.key_set)


def signed(house: House) -> bytes:
    """An access token signed now, with the longest lifetime."""
    signer = keys_of(house).signer("access_token", house.clock.now)
    assert signer is not None
    expires = house.clock.now + LONGEST_TOKEN
    return signer.sign("at+jwt", {"exp": expires // 1_000_000}).encode()


def accepted(house: House, token: bytes) -> bool:
    """Whether the token's key is accepted now, and signed the token."""
    read = jws.read(token)
    assert read.key_id is not None
    key = keys_of(house).find(read.key_id, house.clock.now)
    return key is not None and bool(jws.verify(token, read, key.algorithm, key.public_key))


def raw(house: House) -> list[dict[str, Any]]:
    def select(tx: Tx) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in tx.execute(sa.select(tables.signing_keys))]

    return house.store.read(select)


def recorded(house: House, action: str) -> list[Recorded]:
    return [each for each in events(house) if each.action == action]


def states(house: House, purpose: str = "access_token") -> list[str]:
    """The states of a purpose's keys, ordered by the time from which they sign."""
    return [each.state(house.clock.now) for each in keys_of(house).keys if each.purpose == purpose]


def test_each_purpose_has_one_key_however_often_it_is_asked_for(house: House) -> None:
    """P14 breaks: a start creates keys where some exist, or none where none exist, or records no event."""
    number = house.number.read()
    first = house.sign()
    assert sorted(key.purpose for key in first.keys) == sorted(PURPOSES)
    assert all(first.signer(purpose, house.clock.now) for purpose in PURPOSES)
    assert {key.algorithm for key in first.keys if key.purpose == "m2m"} == {"RS256"}
    assert house.number.read() != number
    assert house.sign().keys == first.keys
    made = recorded(house, "signing_key.created")
    assert [each.details["purpose"] for each in made] == list(PURPOSES)
    assert {each.target_id for each in made} == {key.kid for key in first.keys}


def test_two_that_start_at_once_make_one_key(house: House) -> None:
    """P14 breaks: two nodes have two first keys, and one refuses what the other signed."""
    together = threading.Barrier(2)

    def start(number: int) -> None:
        together.wait()
        house.store.write(signing_keys.ensure, house.alice, {"access_token": pair("ES256", number)})

    threads = [threading.Thread(target=start, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys_of(house).keys) == 1


@pytest.mark.parametrize("at_once", [False, True], ids=["later", "at once"])
def test_a_valid_token_is_accepted_right_through_a_rotation(house: House, at_once: bool) -> None:
    """P14 breaks: a rotation refuses a token that has not expired, or believes its key for good."""
    house.sign()
    first = signed(house)
    house.store.write(signing_keys.rotate, house.alice, {"access_token": pair("ES256", 1)}, at_once=at_once)
    assert states(house) == (["retired", "signing"] if at_once else ["retired", "next"])
    assert len(keys_of(house).jwks(house.clock.now, ["access_token"])["keys"]) == 2
    if not at_once:
        assert jws.read(signed(house)).key_id == jws.read(first).key_id
        house.clock.advance(PUBLISHED_BEFORE - 1)
    last = signed(house) if not at_once else first
    house.clock.advance(1)
    new = signed(house)
    assert jws.read(new).key_id != jws.read(first).key_id
    for _ in range(24):
        assert accepted(house, last)
        assert accepted(house, new)
        house.clock.advance(HOUR)
    house.clock.advance(HOUR)
    assert not accepted(house, last)
    assert accepted(house, new)


def test_rotations_in_a_row_refuse_nothing(house: House) -> None:
    """P14 breaks: who rotates again before the new key signs loses what the old one signs meanwhile."""
    house.sign()
    for number in range(10):
        house.store.write(signing_keys.rotate, house.alice, {"access_token": pair("ES256", f"row {number}")})
        house.clock.advance(PUBLISHED_BEFORE - MINUTE)
    assert states(house)[:1] == ["retired"]
    last = signed(house)
    house.clock.advance(LONGEST_TOKEN)
    assert accepted(house, last)


def test_a_key_that_is_due_gets_a_successor_once(house: House) -> None:
    """P14 breaks: keys sign without end, or a new one is created each hour."""
    house.sign()
    made = {purpose: pair("RS256" if purpose == "m2m" else "ES256", "due") for purpose in PURPOSES}

    def rounds() -> list[int]:
        return [
            len(house.store.write(signing_keys.rotate_due, house.alice, made, 90 * DAY)) for _ in range(2)
        ]

    house.clock.advance(90 * DAY - 1)
    assert house.store.read(signing_keys.due, house.alice, 90 * DAY) == ()
    assert rounds() == [0, 0]
    house.clock.advance(1)
    assert house.store.read(signing_keys.due, house.alice, 90 * DAY) == PURPOSES
    assert rounds() == [3, 0]
    assert states(house) == ["retired", "next"]
    house.clock.advance(PUBLISHED_BEFORE)
    assert rounds() == [0, 0]


def test_keys_that_a_clock_ahead_made_are_replaced_by_the_first_rotation(house: House) -> None:
    """P14 breaks: after a wrong clock, keys are not rotated for a year, or valid tokens are refused."""
    house.sign()
    token = signed(house)
    made = {purpose: pair("RS256" if purpose == "m2m" else "ES256", "ahead") for purpose in PURPOSES}
    house.clock.advance(400 * DAY)
    house.store.write(signing_keys.rotate_due, house.alice, made, 90 * DAY)
    house.clock.advance(-400 * DAY)
    assert accepted(house, token)
    assert jws.read(signed(house)).key_id == jws.read(token).key_id
    assert house.store.read(signing_keys.due, house.alice, 90 * DAY) == PURPOSES
    right = {purpose: pair("RS256" if purpose == "m2m" else "ES256", "right") for purpose in PURPOSES}
    assert len(house.store.write(signing_keys.rotate_due, house.alice, right, 90 * DAY)) == len(PURPOSES)
    assert house.store.read(signing_keys.due, house.alice, 90 * DAY) == ()
    house.clock.advance(PUBLISHED_BEFORE + LONGEST_TOKEN)
    assert accepted(house, token)
    house.clock.advance(HOUR)
    assert not accepted(house, token)
    assert states(house) == ["expired", "signing", "expired"]


def test_keys_that_began_in_the_future_sign_until_their_successors_do(house: House) -> None:
    """OAuth breaks: if the clock was ahead at the first start, no token is issued after it is corrected."""
    house.clock.advance(400 * DAY)
    house.sign()
    house.clock.advance(-400 * DAY)
    token = signed(house)
    assert house.sign().keys == keys_of(house).keys
    house.store.write(signing_keys.rotate_due, house.alice, {"access_token": pair("ES256", 1)}, 90 * DAY)
    assert jws.read(signed(house)).key_id == jws.read(token).key_id, "verifiers know this one"
    house.clock.advance(PUBLISHED_BEFORE)
    assert jws.read(signed(house)).key_id != jws.read(token).key_id
    assert accepted(house, token)


def test_another_algorithm_makes_a_key_at_once(house: House) -> None:
    """P14 breaks: a changed setting changes nothing, or refuses what was signed before."""
    house.sign()
    token = signed(house)
    house.store.write(signing_keys.rotate, house.alice, {"access_token": pair("ES256", 1)})
    keys = house.sign("EdDSA")
    signer = keys.signer("access_token", house.clock.now)
    assert signer is not None
    assert signer.key.algorithm == "EdDSA"
    assert accepted(house, token)
    assert [each.algorithm for each in keys.keys if each.purpose == "m2m"] == ["RS256"]
    house.clock.advance(PUBLISHED_BEFORE)  # the next key is withdrawn
    assert jws.read(signed(house)).algorithm == "EdDSA"
    assert house.sign("EdDSA").keys == keys.keys


def test_a_revoked_key_is_believed_no_more(house: House) -> None:
    """P1 breaks: what a stolen key signs is accepted after its revocation, or nothing can be signed any more."""
    house.sign()
    token = signed(house)
    kid = jws.read(token).key_id
    number = house.number.read()
    made = house.store.write(signing_keys.revoke, house.alice, kid, pair("ES256", "new"))
    assert made is not None
    assert not accepted(house, token)
    assert kid not in {each["kid"] for each in keys_of(house).jwks(house.clock.now, PURPOSES)["keys"]}
    assert house.number.read() != number
    assert jws.read(signed(house)).key_id == made.kid
    assert house.store.write(signing_keys.revoke, house.alice, kid, pair("ES256", "newer")) is None
    assert [each.target_id for each in recorded(house, "signing_key.revoked")] == [kid]


def test_a_successor_is_made_where_there_must_be_one(house: House) -> None:
    """P14 breaks: a revocation leaves no current or next key, or creates a key that is not needed."""
    house.sign()
    first = keys_of(house).signer("access_token", house.clock.now)
    assert first is not None
    (second,) = house.store.write(signing_keys.rotate, house.alice, {"access_token": pair("ES256", 1)})
    third = house.store.write(signing_keys.revoke, house.alice, second.kid, pair("ES256", 2))
    assert third is not None
    # The first key signs meanwhile, so the third is published before it signs.
    assert sorted(states(house)) == ["next", "retired", "revoked"]
    number = house.number.read()
    assert house.store.write(signing_keys.revoke, house.alice, third.kid, None) is None
    assert house.number.read() != number, "told to every cache, also without a successor"
    with refused("not-found"):
        house.store.write(signing_keys.revoke, house.alice, "key_x", None)


@pytest.mark.promise("P19")
def test_the_keys_are_the_operators(house: House) -> None:
    """P19 breaks: an admin of a customer, or a member, manages the installation's keys."""
    house.sign()
    kid = keys_of(house).keys[0].kid
    for caller in (house.charlie, house.bob):
        for operation, arguments in (
            (signing_keys.list_all, ()),
            (signing_keys.missing, ({},)),
            (signing_keys.ensure, ({"m2m": pair("RS256")},)),
            (signing_keys.due, (0,)),
            (signing_keys.rotate_due, ({}, 0)),
            (signing_keys.rotate, ({"m2m": pair("RS256")},)),
            (signing_keys.revoke, (kid, None)),
        ):
            with refused("insufficient-permissions"):
                house.store.write(operation, caller, *arguments)
    assert len(keys_of(house).keys) == len(PURPOSES)


@pytest.mark.promise("P7")
def test_the_database_holds_no_private_key(house: House) -> None:
    """P7 breaks: a copy of the database is enough to sign tokens."""
    house.sign()
    made = {purpose: pair("RS256" if purpose == "m2m" else "ES256", purpose) for purpose in PURPOSES}
    for row in raw(house):
        lines = made[row["purpose"]].private_key.reveal().encode().splitlines()
        whole = bytes(row["private_key"])
        assert lines[1] not in whole
        assert b"PRIVATE" not in whole
        assert row["sealing_id"] in house.store.installation.keyring.sealing


@pytest.mark.promise("P7")
def test_a_key_without_its_master_key_verifies_and_does_not_sign(house: House) -> None:
    """P7 breaks: another master key opens a signing key, or a key that cannot be opened stops the service."""
    house.sign()
    token = signed(house)
    other = replace(house.store.installation, keyring=derive([bytes(32)]))
    elsewhere = replace(house, store=replace(house.store, installation=other))
    assert keys_of(elsewhere).signer("access_token", house.clock.now) is None
    assert accepted(elsewhere, token)
    assert set(elsewhere.store.read(signing_keys.due, house.alice, 90 * DAY)) == set(PURPOSES)
    elsewhere.store.write(signing_keys.rotate, house.alice, {"access_token": pair("ES256", "else")})
    assert keys_of(elsewhere).signer("access_token", house.clock.now) is not None, "at once: nothing signed"
    assert accepted(house, token)


@pytest.mark.promise("P7")
def test_a_sealed_key_is_bound_to_its_row(house: House) -> None:
    """P7 breaks: write access to the database is enough to exchange one signing key for another."""
    house.sign()
    by_purpose = {row["purpose"]: row for row in raw(house)}

    def swap(tx: Tx) -> None:
        sealed = by_purpose["assertion"]["private_key"]
        here = tables.signing_keys.c.kid == by_purpose["access_token"]["kid"]
        tx.execute(tables.signing_keys.update().where(here).values(private_key=sealed))

    house.store.write_on((), swap)
    assert keys_of(house).signer("access_token", house.clock.now) is None
    assert keys_of(house).signer("assertion", house.clock.now) is not None


def test_keys_are_forgotten_long_after_they_ended(house: House) -> None:
    """P14 breaks: a key is deleted while its tokens are valid, or the list of keys grows without limit."""
    house.sign()
    house.store.write(signing_keys.rotate, house.alice, {"access_token": pair("ES256", 1)}, at_once=True)
    revoked = keys_of(house).signer("m2m", house.clock.now)
    assert revoked is not None
    house.store.write(signing_keys.revoke, house.alice, revoked.key.kid, None)

    def left() -> int:
        house.delete_old()
        return len(keys_of(house).keys)

    assert left() == 4
    house.clock.advance(rows.KEPT + 1)
    assert left() == 3
    house.clock.advance(ACCEPTED_AFTER)
    assert left() == 2
    assert states(house) == ["signing"]


def test_a_cache_learns_of_keys(house: House) -> None:
    """P1 breaks: a running service does not notice changes of its keys."""
    facts = FactCache(house.store, house.number, house.clock.monotonic, 30)
    assert facts.keys() is None
    facts.sync()
    assert facts.keys() is not None
    house.sign()
    assert not facts.current()
    facts.catch_up()
    found = facts.keys()
    assert found is not None
    assert found.signer("m2m", house.clock.now) is not None
