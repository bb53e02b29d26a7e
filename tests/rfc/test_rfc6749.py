"""RFC 6749 (OAuth 2.0), clause by clause, for the endpoints that machine clients use.

The tests of the authorization endpoint cover §3.1, §3.1.1, §3.1.2, §4.1, §4.2, §4.3, §6, §10.10 (codes) and §10.12 to
§10.15.
"""

import re

import pytest

from ostiary.core import secret
from ostiary.core.instant import SECOND
from ostiary.services import credentials
from tests.cast import Answer, Front
from tests.machines import (
    ALIAS_TOKEN,
    BY_ASSERTION,
    CLIENT_CREDENTIALS,
    EXCHANGE,
    FORM,
    JWT_BEARER,
    TOKEN,
    Machine,
    basic,
    post,
    said,
    token_of,
)

GRANTED = {"grant_type": CLIENT_CREDENTIALS}


def in_body(robo: Machine) -> dict[str, str]:
    client_id, word = robo.client
    return {**GRANTED, "client_id": client_id, "client_secret": word}


def refused(answer: Answer, error: str) -> None:
    """Return an error response as §5.2 defines it."""
    assert answer.json()["error"] == error, answer.body
    assert answer.status == (401 if error == "invalid_client" else 400)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    assert ("www-authenticate" in answer.headers) is (error == "invalid_client")


# 2.3 Client authentication


@pytest.mark.parametrize(
    "extra",
    [
        "client_secret",
        "client_id and client_secret",
        "assertion",
        "assertion type alone",
    ],
)
def test_2_3_not_more_than_one_method_in_a_request(front: Front, robo: Machine, extra: str) -> None:
    """RFC 6749 §2.3 breaks: a request with two client authentications is accepted."""
    client_id, word = robo.client
    fields = {
        "client_secret": {"client_secret": word},
        "client_id and client_secret": {"client_id": client_id, "client_secret": word},
        "assertion": {"client_assertion_type": BY_ASSERTION, "client_assertion": robo.assertion("client")},
        "assertion type alone": {"client_assertion_type": BY_ASSERTION},
    }[extra]
    refused(post(front, TOKEN, {**GRANTED, **fields}, client=robo.client), "invalid_request")


def test_2_3_not_a_secret_and_an_assertion_in_the_body(front: Front, robo: Machine) -> None:
    """RFC 6749 §2.3 breaks: a form with two client authentications is accepted."""
    both = {"client_assertion_type": BY_ASSERTION, "client_assertion": robo.assertion("client")}
    refused(post(front, TOKEN, {**in_body(robo), **both}), "invalid_request")


def test_2_3_1_basic_must_be_supported(front: Front, robo: Machine) -> None:
    """RFC 6749 §2.3.1 breaks: a client cannot use HTTP Basic, which every server must support."""
    token_of(post(front, TOKEN, GRANTED, client=robo.client))
    token_of(post(front, TOKEN, GRANTED, authorization=basic(*robo.client).replace("Basic", "bASIC")))


def test_2_3_1_the_pair_is_form_encoded_first(front: Front, robo: Machine) -> None:
    """RFC 6749 §2.3.1 breaks: a client that encodes its id and secret, as it must, is refused."""
    client_id, word = (re.sub("[-_]", lambda found: f"%{ord(found[0]):02X}", part) for part in robo.client)
    assert "%" in client_id
    assert "%" in word
    token_of(post(front, TOKEN, GRANTED, client=(client_id, word)))


def test_2_3_1_the_body_may_carry_them(front: Front, robo: Machine) -> None:
    """RFC 6749 §2.3.1 breaks: client_secret_post, which the metadata lists, does not work."""
    token_of(post(front, TOKEN, in_body(robo)))


def test_2_3_1_they_must_not_be_in_the_address(front: Front, robo: Machine) -> None:
    """RFC 6749 §2.3.1 breaks: a secret is accepted in the URL, which logs contain."""
    client_id, word = robo.client
    for query in (
        f"client_id={client_id}&client_secret={word}",
        f"client_secret={word}",
        f"client_id={client_id}",
    ):
        refused(post(front, f"{TOKEN}?{query}", GRANTED), "invalid_request")
        refused(post(front, f"{TOKEN}?{query}", in_body(robo)), "invalid_request")


def test_2_3_1_it_must_be_protected_against_guessing(front: Front, robo: Machine) -> None:
    """RFC 6749 §2.3.1, §10.10 break: secrets can be guessed without limit, or guesses lock their owner out."""
    token_of(robo.by_secret())
    guesses = ((robo.client_id, other_word(number)) for number in range(80))
    statuses = [post(front, TOKEN, GRANTED, client=guess).status for guess in guesses]
    assert (set(statuses[:50]), set(statuses[50:])) == ({401}, {429})
    token_of(robo.by_secret())


def other_word(number: int) -> str:
    """A well-formed secret that does not exist."""
    minted = secret.create(secret.CLIENT_SECRET, bytes([number]) * secret.SECRET_ENTROPY)
    return minted.secret.reveal()


# 3.2 Token endpoint


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [TOKEN, ALIAS_TOKEN])
def test_3_2_it_must_be_asked_with_post(front: Front, robo: Machine, method: str, path: str) -> None:
    """RFC 6749 §3.2 breaks: a GET request gets a token, which logs and caches keep."""
    answer = front.ask(method, path, headers={"authorization": basic(*robo.client)})
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")


def test_3_2_it_may_not_have_a_query(front: Front, robo: Machine) -> None:
    """RFC 6749 §3.2 breaks: parameters in the URL count, where a link may put them."""
    refused(post(front, f"{TOKEN}?scope=api", GRANTED, client=robo.client), "invalid_request")


@pytest.mark.parametrize("name", ["scope", "client_secret", "client_id", "grant_type"])
def test_3_2_a_parameter_without_a_value_must_be_treated_as_omitted(
    front: Front, robo: Machine, name: str
) -> None:
    """RFC 6749 §3.2 breaks: an empty parameter counts as a value. Only an empty scope is refused: see divergences."""
    answer = post(front, TOKEN, {**GRANTED, name: ""}, client=robo.client)
    if name == "scope":
        refused(answer, "invalid_scope")
    elif name == "grant_type":
        refused(answer, "invalid_request")
    else:
        token_of(answer)


def test_3_2_unrecognized_parameters_must_be_ignored(front: Front, robo: Machine) -> None:
    """RFC 6749 §3.2 breaks: an unknown parameter is refused."""
    token_of(post(front, TOKEN, {**GRANTED, "frobnicate": "1", "redirect_uri": "x"}, client=robo.client))


@pytest.mark.parametrize("name", ["grant_type", "scope", "client_id", "client_secret", "unknown"])
def test_3_2_parameters_must_not_be_repeated(front: Front, robo: Machine, name: str) -> None:
    """RFC 6749 §3.2 breaks: a repeated parameter is accepted, and a proxy in front may have read the other value."""
    pairs = [*in_body(robo).items(), ("scope", "api"), ("unknown", "1")]
    token_of(post(front, TOKEN, pairs))
    again = next(value for each, value in pairs if each == name)
    refused(post(front, TOKEN, [*pairs, (name, again)]), "invalid_request")
    refused(post(front, TOKEN, [*pairs, (name, "other")]), "invalid_request")


def test_3_2_1_confidential_clients_must_authenticate(front: Front, robo: Machine) -> None:
    """RFC 6749 §3.2.1 breaks: a client gets a token with its client id only."""
    refused(post(front, TOKEN, GRANTED), "invalid_client")
    refused(post(front, TOKEN, {**GRANTED, "client_id": robo.client_id}), "invalid_client")
    refused(post(front, TOKEN, GRANTED, client=(robo.client_id, "")), "invalid_client")


# 3.3 Scope


def test_3_3_it_is_a_list_of_case_sensitive_words(front: Front, robo: Machine) -> None:
    """RFC 6749 §3.3 breaks: scopes are not case-sensitive, or their order matters."""
    one, other = (
        robo.by_secret(scope=text).json() for text in ("read:agents write:agents", "write:agents read:agents")
    )
    assert one["scope"].split() == other["scope"].split() == ["read:agents", "write:agents"]
    refused(robo.by_secret(scope="READ:agents"), "invalid_scope")
    refused(robo.by_secret(scope="API"), "invalid_scope")


@pytest.mark.parametrize(
    "scope",
    [
        "",
        " ",
        "read:agents,write:agents",
        "read:nothing",
        "api unknown",
        "api\u00e9",
        'api "x"',
        "a\\b",
    ],
)
def test_3_3_a_malformed_or_unknown_scope_is_refused(robo: Machine, scope: str) -> None:
    """RFC 6749 §3.3, §5.2 break: an invalid, unknown or malformed scope is granted in part."""
    refused(robo.by_secret(scope=scope), "invalid_scope")


@pytest.mark.parametrize("scope", ["api m2m ", "  api m2m", "api  m2m", " m2m   api  "])
def test_3_3_spaces_around_scopes_mean_nothing(robo: Machine, scope: str) -> None:
    """RFC 6749 §3.3 breaks: a client with an extra space in its scope setting gets no token."""
    assert robo.by_secret(scope=scope).json()["scope"] == "api m2m"
    signed = robo.assertion("grant", scope=scope)
    assert robo.by_grant(signed).json()["scope"] == "api m2m"
    assert robo.exchange(robo.api_key, scope=scope).json()["scope"] == "api m2m"


@pytest.mark.parametrize(
    "asked", [{}, {"scope": "api"}, {"scope": "read:agents"}, {"scope": "api read:agents"}]
)
def test_3_3_the_scope_that_was_issued_is_told(robo: Machine, asked: dict[str, str]) -> None:
    """RFC 6749 §3.3, §5.1 break: the response omits the granted scope although it differs from the requested one."""
    assert robo.by_secret(**asked).json()["scope"] == asked.get("scope", "api")


def test_3_3_no_scope_is_the_default_or_a_failure(robo: Machine) -> None:
    """RFC 6749 §3.3 breaks: a request without a scope gets an undocumented default."""
    assert robo.by_secret().json()["scope"] == "api"


# 4.4 Client credentials


def test_4_4_only_confidential_clients_may_use_it(front: Front, robo: Machine) -> None:
    """RFC 6749 §4.4 breaks: a public client gets a token by client credentials."""
    refused(post(front, TOKEN, {**GRANTED, "client_id": robo.client_id}), "invalid_client")


@pytest.mark.parametrize("wrong", [None, "", "Client_Credentials", "client_credentials "])
def test_4_4_2_the_grant_type_must_be_this_word(front: Front, robo: Machine, wrong: str | None) -> None:
    """RFC 6749 §4.4.2, §5.2 break: an unknown grant type is accepted as client_credentials."""
    fields = {} if wrong is None else {"grant_type": wrong}
    answer = post(front, TOKEN, fields, client=robo.client)
    refused(answer, "unsupported_grant_type" if wrong else "invalid_request")


def test_4_4_2_it_is_a_form(front: Front, robo: Machine) -> None:
    """RFC 6749 §4.4.2 breaks: a body with another content type is read as a form."""
    answer = post(front, TOKEN, GRANTED, client=robo.client, content_type="text/plain")
    refused(answer, "invalid_request")
    token_of(post(front, TOKEN, GRANTED, client=robo.client, content_type=f"{FORM}; charset=UTF-8"))


def test_4_4_3_no_refresh_token(robo: Machine) -> None:
    """RFC 6749 §4.4.3 breaks: a machine client gets a refresh token, which outlives its secret."""
    assert "refresh_token" not in robo.by_secret().json()


@pytest.mark.parametrize("grant", ["password", "implicit", "urn:x:y"])
def test_4_5_what_is_not_supported_is_said(front: Front, robo: Machine, grant: str) -> None:
    """RFC 6749 §5.2 breaks: an unknown grant type gets another error than unsupported_grant_type."""
    refused(post(front, TOKEN, {"grant_type": grant}, client=robo.client), "unsupported_grant_type")


# 5.1 Successful response


@pytest.mark.parametrize("path", [TOKEN, ALIAS_TOKEN])
def test_5_1_the_answer_has_the_required_members(robo: Machine, path: str) -> None:
    """RFC 6749 §5.1 breaks: a client library cannot read the response, or a cache stores it."""
    answer = robo.by_secret(path)
    told = answer.json()
    assert answer.status == 200
    assert set(told) == {"access_token", "token_type", "expires_in", "scope"}
    assert told["token_type"] == "Bearer"
    assert type(told["expires_in"]) is int
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


def test_5_1_expires_in_is_true(front: Front, robo: Machine) -> None:
    """RFC 6749 §5.1 breaks: a token expires before or after its `expires_in`."""
    told = robo.by_secret().json()
    front.house.clock.advance(told["expires_in"] * SECOND - 1)
    assert front.verify(told["access_token"])["valid"]
    front.house.clock.advance(1)
    assert front.verify(told["access_token"])["code"] == "expired"


# 5.2 Error response


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "x"}, "unsupported_grant_type"),
        ({"grant_type": JWT_BEARER}, "invalid_request"),
        ({"grant_type": JWT_BEARER, "assertion": "x"}, "invalid_grant"),
        ({"grant_type": EXCHANGE}, "invalid_request"),
        ({**GRANTED, "scope": "x"}, "invalid_scope"),
        ({**GRANTED, "resource": "x"}, "invalid_target"),
    ],
)
def test_5_2_errors_have_their_form(front: Front, robo: Machine, fields: dict[str, str], error: str) -> None:
    """RFC 6749 §5.2 breaks: an error has the wrong code, or a form that clients cannot read."""
    answer = post(front, TOKEN, fields, client=robo.client)
    refused(answer, error)
    assert set(answer.json()) == {"error", "error_description"}
    assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", answer.json()["error_description"])


def test_5_2_failed_authentication_is_401_in_the_scheme_that_was_used(front: Front, robo: Machine) -> None:
    """RFC 6749 §5.2 breaks: a failed Basic authentication gets no WWW-Authenticate with Basic."""
    answers = [
        post(front, TOKEN, GRANTED, client=("nobody", "x")),
        post(front, TOKEN, GRANTED, client=(robo.client_id, "secret_x")),
        post(front, TOKEN, GRANTED, client=(robo.client_id, robo.api_key)),
        post(front, TOKEN, GRANTED, client=("nobody", robo.client[1])),
        post(front, TOKEN, {**GRANTED, "client_id": "nobody", "client_secret": "x"}),
        post(front, TOKEN, GRANTED, authorization="Basic !"),
        post(front, TOKEN, GRANTED),
    ]
    for answer in answers:
        refused(answer, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert len({answer.body for answer in answers}) == 1


# 10 Security considerations


def test_10_1_a_secret_that_was_exposed_can_be_ended(front: Front, robo: Machine) -> None:
    """RFC 6749 §10.1 breaks: a client cannot be blocked."""
    token_of(robo.by_secret())
    house = front.house
    house.store.write(credentials.revoke, house.alice, robo.word.listed.credential.id)
    refused(robo.by_secret(), "invalid_client")


def test_10_2_a_client_is_not_taken_for_another(front: Front, robo: Machine, other: Machine) -> None:
    """RFC 6749 §10.2 breaks: a client can use another one's client id."""
    refused(post(front, TOKEN, GRANTED, client=(other.client_id, robo.client[1])), "invalid_client")


def test_10_3_an_access_token_cannot_be_made_modified_or_guessed(front: Front, robo: Machine) -> None:
    """RFC 6749 §10.3, §10.10 break: two tokens are equal, or a modified one is accepted. More in test_p14_tokens."""
    texts = {token_of(robo.by_secret()) for _ in range(5)}
    assert len(texts) == 5
    for text in texts:
        head, body, signature = text.split(".")
        assert not front.verify(f"{head}.{body}.{signature[::-1]}")["valid"]


def test_10_3_it_has_the_least_scope_that_was_asked_for(front: Front, robo: Machine) -> None:
    """RFC 6749 §10.3 breaks: a token has more than the requested scope."""
    text = token_of(robo.by_secret(scope="read:agents"))
    assert front.verify(text)["scopes"] == ["read:agents"]


@pytest.mark.promise("P7")
def test_10_3_nothing_confidential_is_echoed(front: Front, robo: Machine) -> None:
    """RFC 6749 §10.3, P7 break: an error response contains the credential that was sent."""
    for answer in (
        post(front, TOKEN, {**GRANTED, "scope": "s3cr3t"}, client=robo.client),
        post(front, TOKEN, {"grant_type": "s3cr3t"}, client=robo.client),
        post(front, TOKEN, {**GRANTED, "resource": "s3cr3t"}, client=robo.client),
        post(front, TOKEN, GRANTED, client=("s3cr3t", "s3cr3t")),
    ):
        assert b"s3cr3t" not in answer.body
        assert "s3cr3t" not in str(answer.headers)


def test_4_4_2_json_is_read_like_the_form(front: Front, robo: Machine) -> None:
    """RFC 6749 §5.2 breaks: a JSON body is handled differently from a form."""
    client_id, word = robo.client
    asked = {**GRANTED, "client_id": client_id, "client_secret": word}
    assert front.ask("POST", TOKEN, asked).status == 200
    assert said(front.ask("POST", TOKEN, {**asked, "client_secret": "x"})) == "401 invalid_client"
