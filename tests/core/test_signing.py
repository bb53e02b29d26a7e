"""Which key signs, which keys are accepted, and which are published."""

from dataclasses import replace

import pytest

from ostiary.core import jws
from ostiary.core.instant import DAY, HOUR, SECOND
from ostiary.core.jws import Algorithm
from ostiary.core.secret import Secret
from ostiary.core.signing import (
    ACCEPTED_AFTER,
    PUBLISHED_BEFORE,
    PURPOSES,
    KeySet,
    SigningKey,
    algorithm_for,
    generate,
    keys_after_rotation,
)
from tests.cast import NOON, pair

ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "EdDSA", "RS256")
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def key(kid: str, signs_from: int = NOON, **fields: object) -> SigningKey:
    made = SigningKey(
        kid, "access_token", "ES256", pair("ES256").public_key, NOON - HOUR, signs_from, None, None
    )
    return replace(made, **fields)  # type: ignore[arg-type] # fields of a key


def key_set(*keys: SigningKey, without: str = "") -> KeySet:
    private = pair("ES256").private_key
    return KeySet(keys, {each.kid: private for each in keys if each.kid != without})


@pytest.mark.promise("P14")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_a_key_signs_its_published_half_verifies(algorithm: Algorithm) -> None:
    """P14 breaks: the published key does not verify a token, or the token names another key or type."""
    made = generate(algorithm)
    mine = key("one", algorithm=algorithm, public_key=made.public_key)
    keys = KeySet([mine], {"one": made.private_key})
    signer = keys.signer("access_token", NOON)
    assert signer is not None
    text = signer.sign("at+jwt", {"sub": "sa_1"}).encode()
    read = jws.read(text)
    assert (read.algorithm, read.type, read.key_id) == (algorithm, "at+jwt", "one")
    found = keys.find("one", NOON)
    assert found is not None
    assert jws.verify(text, read, found.algorithm, found.public_key) == {"sub": "sa_1"}
    with pytest.raises(jws.InvalidTokenError):
        jws.verify(text, read, algorithm, generate(algorithm).public_key)


@pytest.mark.promise("P7")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_private_member_is_published_or_printed(algorithm: Algorithm) -> None:
    """P7 breaks: the JWKS or a traceback contains a private key."""
    made = generate(algorithm)
    keys = KeySet([key("one", algorithm=algorithm, public_key=made.public_key)], {"one": made.private_key})
    (published,) = keys.jwks(NOON, PURPOSES)["keys"]
    assert not published.keys() & PRIVATE
    assert published.keys() - {"n", "e", "x", "y", "crv"} == {"kty", "kid", "use", "alg"}
    assert (published["kid"], published["use"], published["alg"]) == ("one", "sig", algorithm)
    assert "PRIVATE" not in repr((keys, keys.signer("access_token", NOON), made))


def test_the_newest_that_may_signs() -> None:
    """P14 breaks: a key signs too early, too late, after its revocation, or for another purpose."""
    old, new = key("old", believed_until=NOON + ACCEPTED_AFTER), key("new", NOON + PUBLISHED_BEFORE)
    keys = key_set(new, old, key("machine", purpose="m2m"))

    def signs(keys: KeySet, now: int) -> str | None:
        found = keys.signer("access_token", now)
        return None if found is None else found.key.kid

    assert signs(keys, NOON) == "old"
    assert signs(keys, NOON + PUBLISHED_BEFORE - 1) == "old"
    assert signs(keys, NOON + PUBLISHED_BEFORE) == "new"
    assert signs(key_set(old, replace(new, revoked_at=NOON)), NOON + PUBLISHED_BEFORE) == "old"
    assert signs(key_set(old, replace(new, believed_until=NOON)), NOON + PUBLISHED_BEFORE) == "old"
    assert signs(key_set(old, new, without="new"), NOON + PUBLISHED_BEFORE) == "old"
    assert signs(key_set(old, without="old"), NOON) is None


def test_a_clock_that_is_behind_the_keys_stops_nothing() -> None:
    """OAuth breaks: after a wrong clock was corrected, no token is issued for days."""
    retired, last = key("retired", believed_until=NOON + ACCEPTED_AFTER), key("last", NOON + PUBLISHED_BEFORE)
    for now in (NOON - 400 * DAY, NOON - 1):
        found = key_set(retired, last).signer("access_token", now)
        assert found is not None
        assert found.key.kid == "last"
        assert key_set(replace(last, revoked_at=NOON)).signer("access_token", now) is None
        assert key_set(replace(last, purpose="m2m")).signer("access_token", now) is None
        assert key_set(last, without="last").signer("access_token", now) is None


def test_a_key_from_the_future_is_withdrawn_by_the_next_rotation() -> None:
    """P14 breaks: a key that a wrong clock created signs later, or its predecessor is accepted too long."""
    future = NOON + 400 * DAY
    old, new = key("old", believed_until=future + ACCEPTED_AFTER), key("new", future)
    changed = keys_after_rotation(key_set(old, new), "access_token", NOON + PUBLISHED_BEFORE, NOON)
    assert {each.kid: each.believed_until for each in changed} == {
        "old": NOON + PUBLISHED_BEFORE + ACCEPTED_AFTER,
        "new": NOON,
    }
    # If it is the only key, it has signed, so it is accepted until its successor is known.
    changed = keys_after_rotation(key_set(new), "access_token", NOON + PUBLISHED_BEFORE, NOON)
    assert {each.kid: each.believed_until for each in changed} == {
        "new": NOON + PUBLISHED_BEFORE + ACCEPTED_AFTER
    }
    after = key_set(*changed, key("made", NOON + PUBLISHED_BEFORE))
    signs = [after.signer("access_token", now) for now in (NOON, NOON + PUBLISHED_BEFORE)]
    assert [each and each.key.kid for each in signs] == ["new", "made"]


def test_what_is_believed_is_what_is_published() -> None:
    """P14 breaks: a published key is not accepted, or a key is not published before it signs."""
    keys = key_set(
        key("next", NOON + PUBLISHED_BEFORE),
        key("old", NOON - HOUR, believed_until=NOON + SECOND),
        key("bad", revoked_at=NOON),
    )
    for now, believed in (
        (NOON, ["next", "old"]),
        (NOON + SECOND - 1, ["next", "old"]),
        (NOON + SECOND, ["next"]),
    ):
        assert [each["kid"] for each in keys.jwks(now, ["access_token"])["keys"]] == believed
        assert [each.kid for each in keys.keys if keys.find(each.kid, now)] == believed[::-1]
    assert keys.jwks(NOON, ["m2m"]) == {"keys": []}
    assert keys.find("nobody", NOON) is None


def test_a_key_is_believed_until_all_that_it_signed_has_expired() -> None:
    """P14 breaks: a rotation refuses a valid token, or a withdrawn key signs."""
    old, waiting = key("old", believed_until=NOON + ACCEPTED_AFTER), key("waiting", NOON + PUBLISHED_BEFORE)
    changed = keys_after_rotation(key_set(old, waiting), "access_token", NOON + 2 * PUBLISHED_BEFORE, NOON)
    assert {each.kid: each.believed_until for each in changed} == {
        "old": NOON + 2 * PUBLISHED_BEFORE + ACCEPTED_AFTER,  # it signs for longer than planned
        "waiting": NOON,
    }
    ended = key("ended", NOON - HOUR, believed_until=NOON + HOUR)
    changed = keys_after_rotation(key_set(ended, key("now")), "access_token", NOON, NOON)
    assert {each.kid: each.believed_until for each in changed} == {"now": NOON + ACCEPTED_AFTER}
    assert keys_after_rotation(key_set(old), "m2m", NOON, NOON) == ()


def test_states_in_a_word() -> None:
    """The command breaks: the list shows a wrong state of a key."""
    states = {
        "next": key("a", NOON + 1),
        "signing": key("a"),
        "retired": key("a", believed_until=NOON + 1),
        "expired": key("a", believed_until=NOON),
        "revoked": key("a", revoked_at=NOON, believed_until=NOON),
    }
    assert {word: each.state(NOON) for word, each in states.items()} == {word: word for word in states}


def test_machine_tokens_are_rs256() -> None:
    """The alias breaks: clients of the alias refuse tokens that are not RS256."""
    assert [algorithm_for(purpose, "EdDSA") for purpose in PURPOSES] == ["EdDSA", "EdDSA", "RS256"]


def test_a_private_key_stays_closed() -> None:
    """P7 breaks: a new pair shows its private key when printed."""
    assert isinstance(generate("EdDSA").private_key, Secret)
