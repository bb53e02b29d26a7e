"""RFC 9068 (JWT access tokens), clause by clause. A library reads the tokens with the published metadata."""

from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from ostiary.core.instant import SECOND
from tests.cast import Front
from tests.machines import (
    ALIAS_TOKEN,
    ISSUER,
    RESOURCE,
    Machine,
    machine,
    name_resource,
    token_of,
)
from tests.mutants import good
from tests.promises.test_p14_tokens import parts, private

ALIAS = f"{ISSUER}/oauth2/ostiary"
GRANTS = ("client_credentials", "jwt-bearer", "private_key_jwt", "token-exchange", "alias")


def issued(robo: Machine, grant: str, **form: str) -> str:
    match grant:
        case "client_credentials":
            answer = robo.by_secret(**form)
        case "jwt-bearer":
            answer = robo.by_grant(**form)
        case "private_key_jwt":
            answer = robo.by_key(**form)
        case "token-exchange":
            answer = robo.exchange(robo.api_key, **form)
        case _:
            answer = robo.by_secret(ALIAS_TOKEN, **form)
    return token_of(answer)


def read(front: Front, text: str, issuer: str = ISSUER) -> jwt.Token:
    """Validate a token as §4 requires of a resource server: metadata, keys, signature."""
    path = issuer.removeprefix(ISSUER)
    told = front.ask("GET", f"/.well-known/oauth-authorization-server{path}").json()
    assert told["issuer"] == issuer
    keys = front.ask("GET", told["jwks_uri"].removeprefix(ISSUER)).json()
    return jwt.decode(text, KeySet.import_key_set(keys), algorithms=["ES256", "RS256"])


@pytest.mark.parametrize("grant", GRANTS)
def test_2_1_the_header(front: Front, robo: Machine, grant: str) -> None:
    """RFC 9068 §2.1 breaks: a token has no signature, another type, or a key that is not published."""
    header = read(front, issued(robo, grant), ALIAS if grant == "alias" else ISSUER).header
    assert header["typ"] == "at+jwt"
    assert header["alg"] == ("RS256" if grant == "alias" else "ES256")
    assert type(header["kid"]) is str


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_2_1_it_must_be_signed(front: Front, algorithm: Any) -> None:
    """RFC 9068 §2.1 breaks: a token uses `none`, or another algorithm than configured. RS256 can be configured."""
    front.house.sign(algorithm)
    robo = machine(front)
    text = token_of(robo.by_secret())
    keys = KeySet.import_key_set(front.ask("GET", "/.well-known/jwks.json").json())
    assert jwt.decode(text, keys, algorithms=[algorithm]).header["alg"] == algorithm


@pytest.mark.parametrize("grant", GRANTS)
def test_2_2_the_required_claims(front: Front, robo: Machine, grant: str) -> None:
    """RFC 9068 §2.2 breaks: a claim that resource servers require is missing or has another type."""
    issuer = ALIAS if grant == "alias" else ISSUER
    claims = read(front, issued(robo, grant), issuer).claims
    now = front.house.clock.now // SECOND
    account = robo.view.account
    expected = {
        "iss": issuer,
        "exp": now + 86400,
        "aud": ISSUER,
        "sub": account.id,
        "client_id": account.client_id,
        "iat": now,
    }
    assert {name: claims[name] for name in expected} == expected
    assert claims["jti"].startswith("tok_")
    assert {type(claims["exp"]), type(claims["iat"])} == {int}


def test_2_2_each_has_an_id_of_its_own(front: Front, robo: Machine) -> None:
    """RFC 9068 §2.2 breaks: two tokens have one jti, and revoking one revokes both."""
    ids = [read(front, token_of(robo.by_secret())).claims["jti"] for _ in range(20)]
    assert len(set(ids)) == 20


@pytest.mark.parametrize("grant", GRANTS)
@pytest.mark.parametrize("scope", ["api", "read:agents", "read:agents write:agents"])
def test_2_2_3_the_scope_claim_is_what_was_granted(
    front: Front, robo: Machine, grant: str, scope: str
) -> None:
    """RFC 9068 §2.2.3 breaks: a request with a scope gets a token without one, or with another."""
    text = issued(robo, grant, scope=scope)
    assert read(front, text, ALIAS if grant == "alias" else ISSUER).claims["scope"] == scope


@pytest.mark.promise("P7")
def test_2_2_no_secret_is_in_it(front: Front, robo: Machine) -> None:
    """RFC 9068 §6, P7 break: a token, which anyone can decode, contains a secret."""
    claims = read(front, token_of(robo.by_secret())).claims
    assert set(claims) == {
        "iss", "sub", "aud", "client_id", "account_id", "scope", "iat", "exp", "jti", "cid", "ost_cred",
    }  # fmt: skip
    assert robo.client[1] not in str(claims)


def test_3_without_a_resource_the_audience_is_the_default(front: Front, robo: Machine) -> None:
    """RFC 9068 §3 breaks: a token has no audience."""
    assert read(front, token_of(robo.by_secret())).claims["aud"] == ISSUER


def test_3_with_a_resource_it_is_that(front: Front, robo: Machine) -> None:
    """RFC 9068 §3 breaks: the audience differs from the requested resource."""
    name_resource(front.house)
    assert read(front, token_of(robo.by_secret(resource=RESOURCE))).claims["aud"] == RESOURCE


@pytest.mark.parametrize("grant", GRANTS)
def test_4_a_resource_server_can_check_it(front: Front, robo: Machine, grant: str) -> None:
    """RFC 9068 §4 breaks: a validator that follows the RFC rejects our tokens."""
    issuer = ALIAS if grant == "alias" else ISSUER
    token = read(front, issued(robo, grant), issuer)
    registry = jwt.JWTClaimsRegistry(
        now=front.house.clock.now // SECOND,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": ISSUER},
        exp={"essential": True},
    )
    registry.validate(token.claims)


def test_4_an_id_token_or_assertion_is_no_access_token(front: Front, robo: Machine) -> None:
    """RFC 9068 §4, §5 break: a JWT of another type is accepted. For all other changes see test_p14_tokens."""
    header, claims = parts(token_of(robo.by_secret()))
    for kind, taken in (
        ("at+jwt", True),
        ("application/at+jwt", True),
        ("JWT", False),
        ("secevent+jwt", False),
    ):
        text = good(private("access_token"), {**claims, "jti": f"tok_{kind}"}, {**header, "typ": kind})
        assert front.verify(text)["valid"] is taken, kind


def test_5_one_issuer_is_not_the_other(front: Front, robo: Machine) -> None:
    """RFC 9068 §5 breaks: the keys of one issuer validate tokens of the other."""
    text = issued(robo, "alias")
    keys = front.ask("GET", "/oauth2/ostiary/v1/keys").json()
    assert jwt.decode(text, KeySet.import_key_set(keys), algorithms=["RS256"]).claims["iss"] == ALIAS
    published = front.ask("GET", "/.well-known/jwks.json").json()["keys"]
    ours = next(each for each in published if each["alg"] == "ES256")
    with pytest.raises((JoseError, ValueError)):
        jwt.decode(text, ECKey.import_key(ours), algorithms=["RS256"])


def test_6_the_subject_is_the_same_for_every_client_of_an_account(
    front: Front, robo: Machine, other: Machine
) -> None:
    """RFC 9068 §5 breaks: the subject of a machine can equal a person's, or another machine's."""
    subjects = {read(front, issued(each, "client_credentials")).claims["sub"] for each in (robo, other)}
    assert subjects == {robo.view.account.id, other.view.account.id}
    assert all(each.startswith("sa_") for each in subjects)
