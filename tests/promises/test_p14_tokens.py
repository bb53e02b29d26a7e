"""P14: no endpoint of the service accepts any forged JWT of a kind that has fooled other software, or fetches a URL for it.

The test sends the JWTs of `tests/mutants.py` to each endpoint that accepts an access token or an assertion.
"""

import base64
import itertools
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from ostiary.core import jws
from ostiary.core.access_token import ALIAS, TYPE
from ostiary.core.instant import HOUR, SECOND
from ostiary.core.jws import PrivateKey
from ostiary.core.signing import PURPOSES, KeySet, Purpose, algorithm_for
from ostiary.services import signing_keys
from tests.cast import SEED, Answer, Front, pair
from tests.conftest import PROVE
from tests.machines import (
    ALIAS_TOKEN,
    BY_ASSERTION,
    CLIENT_CREDENTIALS,
    INTROSPECT,
    ISSUER,
    JWT_BEARER,
    TOKEN,
    Machine,
    exchange,
    machine,
    post,
    token_of,
)
from tests.mutants import GONE, dumped, good, mutants, signed
from tests.promises.line import prove

pytestmark = pytest.mark.promise("P14")

Endpoint = Callable[[Front, str, str], tuple[Answer, bool]]
"""Sends a token to an endpoint from this peer. Returns the response, and whether the token is accepted."""


def _bearer(method: str, path: str) -> Endpoint:
    def show(front: Front, text: str, peer: str) -> tuple[Answer, bool]:
        fields = [("authorization", f"Bearer {text}".encode().decode("latin-1"))]
        answer = front.ask(method, path, headers=fields, peer=peer)
        return answer, answer.status < 300

    return show


def _verify(front: Front, text: str, peer: str) -> tuple[Answer, bool]:
    body = {"credential": text, "ip": peer, "count": False}
    answer = front.ask("POST", "/v1/verify", body, key=front.house.alice_key, peer=peer)
    return answer, answer.status == 200 and answer.json()["valid"]


def _introspect(front: Front, text: str, peer: str) -> tuple[Answer, bool]:
    answer = front.ask("POST", INTROSPECT, {"token": text}, peer=peer)
    return answer, answer.status == 200 and answer.json()["active"]


def _introspect_form(front: Front, text: str, peer: str) -> tuple[Answer, bool]:
    fields = {"token": text, "ip": peer}
    answer = post(front, INTROSPECT, fields, bearer=front.house.alice_key, peer=peer)
    return answer, answer.status == 200 and answer.json()["active"]


def _exchange(front: Front, text: str, peer: str) -> tuple[Answer, bool]:
    answer = exchange(front, text, peer)
    return answer, answer.status == 200


def _grant(front: Front, text: str, peer: str) -> tuple[Answer, bool]:
    answer = post(front, TOKEN, {"grant_type": JWT_BEARER, "assertion": text}, peer=peer)
    return answer, answer.status == 200


def _client(front: Front, text: str, peer: str) -> tuple[Answer, bool]:
    fields = {
        "grant_type": CLIENT_CREDENTIALS,
        "client_assertion_type": BY_ASSERTION,
        "client_assertion": text,
    }
    answer = post(front, TOKEN, fields, peer=peer)
    return answer, answer.status == 200


FOR_TOKENS: dict[str, Endpoint] = {
    "capabilities": _bearer("GET", "/v1/capabilities"),
    "management": _bearer("GET", "/v1/service-accounts?limit=1"),
    "authorize": _bearer("GET", "/v1/authorize/-"),
    "authorize-nginx": _bearer("GET", "/v1/authorize-nginx/-"),
    "verify": _verify,
    "introspect, JSON": _introspect,
    "introspect, form": _introspect_form,
    "token exchange": _exchange,
}
IN_A_FIELD = ("capabilities", "management", "authorize", "authorize-nginx")
FOR_ASSERTIONS: dict[str, Endpoint] = {"grant": _grant, "client": _client}

# Our own rules define the time claims of access tokens, and none has `nbf`. `sub` is ignored, because the
# credential defines the owner of a token.
UNREAD = ("claim: sub", "claim: nbf", "claim: jti 'aaaa")
FOR_OTHERS = (
    "claim: aud ''",
    "claim: aud 'somebody else'",
    "claim: aud ['somebody else']",
    "claim: aud of another path",
)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt of this process to connect to a host or to resolve one. The list should stay empty."""
    tried: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        tried.append(arguments[-1])
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


def peers() -> Iterator[str]:
    """Yield a client address for each request. A single one would reach the limit for failures and hide the checks."""
    return (f"198.51.{number // 250 % 250}.{number % 250 + 1}" for number in itertools.count())


def tried_at(
    front: Front,
    endpoints: dict[str, Endpoint],
    texts: Iterable[tuple[str, str]],
    skip: Any = lambda *_: False,
) -> tuple[Counter[str], list[str], list[str]]:
    """Send each token to each endpoint. Returns the count, the accepted ones, and the 500 responses."""
    asked: Counter[str] = Counter()
    accepted, broken = [], []
    addresses = peers()
    for name, text in texts:
        for endpoint, show in endpoints.items():
            if skip(endpoint, name):
                continue
            answer, accepts = show(front, text, next(addresses))
            asked[endpoint] += 1
            assert answer.status != 429, (endpoint, name)
            if accepts:
                accepted.append(f"{endpoint}: {name}")
            if answer.status >= 500:
                broken.append(f"{endpoint}: {name}: {answer.status}")
    return asked, accepted, broken


SHOWN: Counter[str] = Counter()
"""The number of requests, by endpoint."""


@pytest.fixture(scope="module", autouse=True)
def proof() -> Iterator[None]:
    SHOWN.clear()
    yield
    if PROVE:
        figures: dict[str, object] = {f"shown at {endpoint}": count for endpoint, count in SHOWN.items()}
        title = "only our algorithms, keys, issuers and audiences are believed"
        prove("P14", title, SEED, figures | {"accepted": 0, "answers in the 500s": 0, "fetches": 0})


def judged(
    what: str, found: tuple[Counter[str], list[str], list[str]], no_network: list[object]
) -> Counter[str]:
    asked, accepted, broken = found
    SHOWN.update(asked)
    print(
        f"{what}: {dict(asked)}; {asked.total()} shown, {len(accepted)} accepted,"
        f" {len(broken)} in the 500s, {len(no_network)} fetches"
    )
    assert not accepted
    assert not broken
    assert not no_network
    return asked


def parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of a JWT."""
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in text.split(".")[:2])
    return header, claims


def private(purpose: Purpose) -> PrivateKey:
    """Return the private key that signs for this purpose in `House.sign`."""
    algorithm = algorithm_for(purpose, "ES256")
    return jws.private_key(algorithm, pair(algorithm, purpose).private_key.reveal().encode())


@pytest.fixture
def robo(front: Front) -> Machine:
    front.house.sign()
    return machine(front)


def unread(endpoint: str, name: str) -> bool:
    """Return whether the change has no effect at this endpoint."""
    if name.startswith(UNREAD):
        return True
    if endpoint in IN_A_FIELD and name in ("form: white space before", "form: white space after"):
        return True  # form fields are stripped of surrounding white space
    # Introspection covers tokens for other audiences, and a token exchange names its audience.
    return endpoint.startswith("introspect") and name in FOR_OTHERS


@pytest.mark.parametrize("path", ["", ALIAS], ids=["ours", "alias"])
def test_no_changed_access_token_is_accepted(
    robo: Machine, front: Front, no_network: list[object], path: str
) -> None:
    """P14 breaks: an attacker can create an access token, or change one of ours."""
    text = token_of(robo.by_secret(ALIAS_TOKEN if path else TOKEN))
    header, claims = parts(text)
    for endpoint, show in FOR_TOKENS.items():
        assert show(front, text, "192.0.2.1")[1], endpoint
    key = private("m2m" if path else "access_token")
    hour = HOUR // SECOND
    fine = (f"claim: exp {claims['iat'] + 3 * hour}", f"claim: iat {claims['iat'] + hour}")
    made = [(name, each) for name, each in mutants(key, claims, header) if name not in fine]
    made += [
        (f"header: typ {kind!r}", good(key, claims, _changed(header, typ=kind)))
        for kind in ("JWT", "at+JWTx", GONE)
    ]
    made += [
        (f"claim: {name} {wrong!r}", good(key, _changed(claims, **{name: wrong}), header))
        for name in ("scope", "client_id", "ost_cred")
        for wrong in (GONE, "", 7, None, ["api"], "\ud800")
    ]
    made += [
        (f"claim: ost_cred {wrong!r}", good(key, _changed(claims, ost_cred=wrong), header))
        for wrong in ("cred_", "cred_01:1", "cred_01", ":1", f"{claims['ost_cred'].upper()}", "' OR 1=1:1")
    ]
    asked = judged(f"access tokens of {claims['iss']}", tried_at(front, FOR_TOKENS, made, unread), no_network)
    assert min(asked.values()) >= 60


def _changed(members: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changed}.items() if value is not GONE}


def test_a_token_is_of_one_key_one_algorithm_and_one_issuer(
    robo: Machine, front: Front, no_network: list[object]
) -> None:
    """P14, R11 break: a JWT that one of our keys signed for one purpose is accepted for another."""
    keys: KeySet = front.house.store.read(lambda tx: signing_keys.list_all(tx, front.house.alice))
    now = front.house.clock.now
    kids = {purpose: signer.key.kid for purpose in PURPOSES if (signer := keys.signer(purpose, now))}
    _, claims = parts(token_of(robo.by_secret()))
    alias = f"{ISSUER}{ALIAS}"
    made = []
    for purpose in PURPOSES:
        algorithm = algorithm_for(purpose, "ES256")
        for issuer in (ISSUER, alias, ISSUER + "/", ISSUER + ALIAS + "/", "https://evil.test"):
            if (purpose, issuer) in (("access_token", ISSUER), ("m2m", alias)):
                continue
            text = good(
                private(purpose),
                {**claims, "iss": issuer},
                {"alg": algorithm, "typ": TYPE, "kid": kids[purpose]},
            )
            made.append((f"{purpose} key, issuer {issuer}", text))
        for other in PURPOSES:
            if other != purpose:
                head = {"alg": algorithm, "typ": TYPE, "kid": kids[other]}
                made.append((f"{purpose} key as {other}", good(private(purpose), claims, head)))
    for algorithm, purpose in (("RS256", "m2m"), ("ES256", "access_token")):
        for other in ("access_token", "m2m"):
            name = dumped(
                {"alg": "PS256" if algorithm == "RS256" else "ES256K", "typ": TYPE, "kid": kids[other]}
            )
            made.append(
                (
                    f"{algorithm} under another name as {other}",
                    signed(private(purpose), algorithm, name, dumped(claims)),
                )
            )
    judged("keys of another use", tried_at(front, FOR_TOKENS, made), no_network)


@pytest.mark.parametrize("purpose", ["access_token", "m2m"])
def test_a_revoked_key_signs_nothing(
    robo: Machine, front: Front, no_network: list[object], purpose: Purpose
) -> None:
    """P14 breaks: a token by a stolen signing key is accepted after the key was revoked."""
    text = token_of(robo.by_secret(TOKEN if purpose == "access_token" else ALIAS_TOKEN))
    for endpoint, show in FOR_TOKENS.items():
        assert show(front, text, "192.0.2.1")[1], endpoint
    header, claims = parts(text)
    house = front.house
    algorithm = algorithm_for(purpose, "ES256")
    house.store.write(signing_keys.revoke, house.alice, header["kid"], pair(algorithm, "next"))
    never_seen = good(private(purpose), {**claims, "jti": "tok_new"}, header)
    judged("a revoked key", tried_at(front, FOR_TOKENS, [("seen", text), ("new", never_seen)]), no_network)


@pytest.mark.parametrize("endpoint", ["grant", "client"])
def test_no_changed_assertion_is_accepted(
    robo: Machine, front: Front, no_network: list[object], endpoint: Any
) -> None:
    """P14 breaks: a client without the key can authenticate as the service account."""
    claims, header = robo.claims(endpoint), robo.header()
    assert FOR_ASSERTIONS[endpoint](
        front, good(robo.private, {**claims, "jti": "good"}, header), "192.0.2.1"
    )[1]
    made = mutants(robo.private, claims, header)
    # Without `kid` it is valid, because the machine has only one key file.
    skipped = ("header: kid missing", *(("claim: sub missing",) if endpoint == "grant" else ()))
    asked = judged(
        f"assertions at {endpoint}",
        tried_at(front, {endpoint: FOR_ASSERTIONS[endpoint]}, made, lambda _, name: name in skipped),
        no_network,
    )
    assert asked.total() >= 60


def test_one_thing_is_not_another(robo: Machine, front: Front, no_network: list[object]) -> None:
    """P14 breaks: an assertion is accepted as an access token, or an access token as an assertion."""
    token = token_of(robo.by_secret())
    header, claims = parts(token)
    kid_of_robo = {**header, "kid": robo.key_id, "alg": "EdDSA"}
    made = [
        ("an assertion of a grant", robo.assertion("grant")),
        ("an assertion of a client", robo.assertion("client")),
        ("a token signed by a key file", good(robo.private, claims, kid_of_robo)),
        ("a token signed by a key file as JWT", good(robo.private, claims, {**kid_of_robo, "typ": "JWT"})),
    ]
    judged("assertions as tokens", tried_at(front, FOR_TOKENS, made), no_network)
    made = [
        ("an access token", token),
        ("at+jwt", good(robo.private, robo.claims("grant"), robo.header(typ=TYPE))),
        ("at+jwt of a client", good(robo.private, robo.claims("client"), robo.header(typ=TYPE))),
        ("our key", good(private("access_token"), robo.claims("client"), {**header, "typ": "JWT"})),
        (
            "our key under its name",
            good(private("access_token"), robo.claims("client"), {**robo.header(), "alg": "ES256"}),
        ),
        ("a login", good(robo.private, robo.claims("grant", aud=GONE, sub=robo.key_id), robo.header())),
        ("an API key", robo.api_key),
        ("a client secret", robo.client[1]),
    ]
    judged("tokens as assertions", tried_at(front, FOR_ASSERTIONS, made), no_network)
