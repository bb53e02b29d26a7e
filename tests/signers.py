"""Key files for tests: cached keys, and the JWTs that their owners sign."""

import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any

from joserfc.errors import InvalidKeyTypeError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ostiary.core import jws
from ostiary.core.assertion import AssertionKey, AssertionUse, CheckedAssertion, check
from ostiary.core.instant import SECOND, Instant
from ostiary.core.jws import Algorithm, PrivateKey
from tests.cast import NOON
from tests.mutants import GONE, good

ISSUER = "https://ostiary.test"
ENDPOINT = f"{ISSUER}/oauth/token"
OURS = frozenset({ISSUER, ENDPOINT})
KEY_ID = "cred_01"
CLIENT_ID = "ostiary-sa-1"
CHANNEL = "robo@acme.test"
ACCOUNT_ID = "sa_01"
SECONDS = NOON // SECOND

CLAIMS: Mapping[AssertionUse, Mapping[str, Any]] = {
    "client": {
        "iss": CLIENT_ID,
        "sub": CLIENT_ID,
        "aud": ENDPOINT,
        "exp": SECONDS + 60,
        "iat": SECONDS,
        "jti": "one",
    },
    "grant": {
        "iss": CHANNEL,
        "sub": CHANNEL,
        "aud": ISSUER,
        "exp": SECONDS + 3600,
        "iat": SECONDS,
        "jti": "one",
    },
    "login": {"sub": KEY_ID, "iat": SECONDS, "jti": "one"},
}


@cache
def key(algorithm: Algorithm) -> PrivateKey:
    if algorithm == "RS256":
        return RSAKey.generate_key(2048)
    return ECKey.generate_key("P-256") if algorithm == "ES256" else OKPKey.generate_key("Ed25519")


def signer(algorithm: Algorithm = "EdDSA", google: bool = False) -> AssertionKey:
    public = key(algorithm).as_der(private=False)
    return AssertionKey(KEY_ID, algorithm, public, CLIENT_ID, CHANNEL, ACCOUNT_ID, google)


def header(algorithm: Algorithm = "EdDSA", **changed: Any) -> dict[str, Any]:
    members = {"alg": algorithm, "typ": "JWT", "kid": KEY_ID, **changed}
    return {name: value for name, value in members.items() if value is not GONE}


def claims(use: AssertionUse, **changed: Any) -> dict[str, Any]:
    """Return valid claims for this use, with changes."""
    members = {**CLAIMS[use], **changed}
    return {name: value for name, value in members.items() if value is not GONE}


def show(
    use: AssertionUse, text: str, by: AssertionKey | None = None, now: Instant = NOON
) -> CheckedAssertion:
    """Check a JWT for this use. Raises InvalidTokenError."""
    raw = text.encode()
    return check(use, raw, jws.read(raw), by or signer(), OURS, now)


def signed(
    use: AssertionUse, algorithm: Algorithm = "EdDSA", typ: Any = "JWT", kid: Any = KEY_ID, **changed: Any
) -> str:
    """Return a JWT for this use. `typ` and `kid` go into the header, other changes into the claims."""
    return good(key(algorithm), claims(use, **changed), header(algorithm, typ=typ, kid=kid))


def login(private_key: str, key_id: str, now: Instant, **changed: Any) -> str:
    """Return the JWT that a partner's script signs with its key file (`private_key` in PEM): `sub`, `iat` and `jti`."""
    of_file: PrivateKey
    try:
        of_file, algorithm = RSAKey.import_key(private_key), "RS256"
    except InvalidKeyTypeError:
        of_file, algorithm = OKPKey.import_key(private_key), "EdDSA"
    members = {"sub": key_id, "iat": now // SECOND, "jti": uuid.uuid4().hex, **changed}
    shown = {name: value for name, value in members.items() if value is not GONE}
    return good(of_file, shown, {"alg": algorithm, "typ": "JWT"})
