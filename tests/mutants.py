"""A valid JWT changed in every way that is known to have fooled a verifier. Every verifier must refuse each (P14).

A name begins with the part that changed: `form` (the text), `header`, `signature` or `claim`. Changes of `form`,
`header` and `signature` are invalid for any token. Changes of `claim` have a valid signature, and are invalid where
the verifier checks the claim.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from ostiary.core.jws import PrivateKey

Json = Mapping[str, Any]


class Gone:
    """Stands for an absent claim. Its text is the same in every process, because test names contain it."""

    def __repr__(self) -> str:
        return "gone"


GONE: Any = Gone()
"""A member that is removed."""
ELSEWHERE = "https://keys.example"
HOUR = 3600


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def other_key(key: PrivateKey) -> PrivateKey:
    """Return another key of the same kind."""
    if isinstance(key, RSAKey):
        return RSAKey.generate_key(2048)
    return ECKey.generate_key("P-256") if isinstance(key, ECKey) else OKPKey.generate_key("Ed25519")


def signed(key: PrivateKey, algorithm: str, header: bytes, payload: bytes) -> str:
    """Return a compact JWS of exactly these bytes."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"


def good(key: PrivateKey, claims: Json, header: Json) -> str:
    return signed(key, header["alg"], dumped(header), dumped(claims))


def mutants(good_key: PrivateKey, claims: Json, header: Json) -> list[tuple[str, str]]:
    """Yield (name, JWT) for every change to the JWT that `good_key` signs over these claims and this header.

    The claims must contain `iat`. Other claims that are present are changed too.
    """
    return [
        *_headers(good_key, claims, header),
        *_forgeries(good_key, claims, header),
        *_forms(good_key, claims, header),
        *_claims(good_key, claims, header),
    ]


def _with(members: Json, **changed: Any) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changed}.items() if value is not GONE}


def _headers(key: PrivateKey, claims: Json, header: Json) -> Iterator[tuple[str, str]]:
    algorithm = header["alg"]

    def with_header(**changed: Any) -> str:
        return signed(key, algorithm, dumped(_with(header, **changed)), dumped(claims))

    public: Any = key.as_dict(private=False)
    for name, value in (
        ("jwk", public),
        ("jku", f"{ELSEWHERE}/jwks.json"),
        ("x5u", f"{ELSEWHERE}/chain.pem"),
        ("x5c", [encoded(b"chain")]),
        ("crit", ["exp"]),
        ("b64", False),
        ("zip", "DEF"),
        ("enc", "A256GCM"),
    ):
        yield f"header: {name}", with_header(**{name: value})
    for spelling in ("none", "None", "NONE", "nOnE", "", "HS256", "PS256", "ES384", "RS256 ", "A128KW"):
        yield f"header: alg {spelling!r} over a good signature", with_header(alg=spelling)
    for wrong in (GONE, None, 256, [algorithm], {"alg": algorithm}, algorithm.swapcase()):
        yield f"header: alg {'missing' if wrong is GONE else wrong!r}", with_header(alg=wrong)
    for other in {"ES256", "EdDSA", "RS256"} - {algorithm}:
        yield f"header: alg {other}", with_header(alg=other)
    for wrong in ("another", "", "../../../../dev/null", "x' OR '1'='1", 7, None, [header.get("kid")], {}):
        if wrong is not None:
            yield f"header: kid {wrong!r}", with_header(kid=wrong)
    yield "header: kid missing", with_header(kid=GONE)
    for wrong in ("secevent+jwt", "jose", "", 7, ["JWT"], "dpop+jwt"):
        yield f"header: typ {wrong!r}", with_header(typ=wrong)
    twice = dumped(header)[:-1] + b',"alg":"none"}'
    yield "header: alg twice", signed(key, algorithm, twice, dumped(claims))
    yield "header: NaN", signed(key, algorithm, dumped(header)[:-1] + b',"x":NaN}', dumped(claims))
    yield "header: an array", signed(key, algorithm, b"[" + dumped(header) + b"]", dumped(claims))
    yield "header: nested", signed(key, algorithm, _nested(header), dumped(claims))
    yield "header: no UTF-8", signed(key, algorithm, dumped(header)[:-1] + b',"x":"\xff"}', dumped(claims))


def _forgeries(key: PrivateKey, claims: Json, header: Json) -> Iterator[tuple[str, str]]:
    algorithm, payload = header["alg"], dumped(claims)
    head, body, signature = good(key, claims, header).split(".")
    yield "signature: another key", good(other_key(key), claims, header)
    for spelling in ("none", "None", "NONE", "nOnE"):
        unsigned = f"{encoded(dumped(_with(header, alg=spelling)))}.{body}"
        yield f"signature: none, alg {spelling}", f"{unsigned}."
        yield f"signature: the good one, alg {spelling}", f"{unsigned}.{signature}"
    symmetric = f"{encoded(dumped(_with(header, alg='HS256')))}.{body}"
    secrets = {
        "PEM": key.as_pem(private=False),
        "PEM without its last line break": key.as_pem(private=False).strip(),
        "DER": key.as_der(private=False),
        "JWK": dumped(key.as_dict(private=False)),
        "nothing": b"",
    }
    for name, secret in secrets.items():
        made = hmac.new(secret, symmetric.encode(), hashlib.sha256).digest()
        yield f"signature: HS256 by the public key ({name})", f"{symmetric}.{encoded(made)}"
    raw = base64.urlsafe_b64decode(signature + "==")
    yield "signature: a bit changed", f"{head}.{body}.{encoded(raw[:-1] + bytes([raw[-1] ^ 1]))}"
    yield "signature: first byte changed", f"{head}.{body}.{encoded(bytes([raw[0] ^ 128]) + raw[1:])}"
    yield "signature: zeros", f"{head}.{body}.{encoded(bytes(len(raw)))}"
    yield "signature: truncated", f"{head}.{body}.{encoded(raw[:-1])}"
    yield "signature: longer", f"{head}.{body}.{encoded(raw + bytes(1))}"
    yield "signature: one byte", f"{head}.{body}.{encoded(bytes(1))}"
    yield "signature: of another payload", f"{head}.{encoded(dumped(_with(claims, x=1)))}.{signature}"
    yield "signature: of another header", f"{encoded(dumped(_with(header, x=1)))}.{body}.{signature}"
    yield (
        "signature: of the bytes and not of their text",
        f"{head}.{body}.{encoded(JWSRegistry.algorithms[algorithm].sign(dumped(header) + b'.' + payload, key))}",
    )
    mine = other_key(key)
    own = _with(header, jwk=mine.as_dict(private=False))
    yield "signature: by the key that the header brings", signed(mine, algorithm, dumped(own), payload)


def _forms(key: PrivateKey, claims: Json, header: Json) -> Iterator[tuple[str, str]]:
    token = good(key, claims, header)
    head, body, signature = token.split(".")
    yield "form: two parts", f"{head}.{body}"
    yield "form: four parts", f"{token}.{signature}"
    yield "form: five parts", f"{head}.{body}.{body}.{body}.{signature}"
    yield "form: no header", f".{body}.{signature}"
    yield "form: no payload", f"{head}..{signature}"
    yield "form: no signature", f"{head}.{body}."
    yield "form: dots alone", ".."
    yield "form: padding in the signature", f"{token}="
    yield "form: padding in the payload", f"{head}.{body}==.{signature}"
    yield "form: the last character spelt otherwise", _otherwise(token)
    yield "form: the other base64", f"{head}.{body}.+/{signature[2:]}"
    for name, text in (
        ("before", f" {token}"),
        ("after", f"{token} "),
        ("inside", f"{head}. {body}.{signature}"),
    ):
        yield f"form: white space {name}", text
    yield "form: a line break", f"{token}\n"
    yield "form: a line break inside", f"{head}.{body}\n.{signature}"
    yield "form: a full-width dot", f"{head}．{body}.{signature}"
    yield "form: truncated", token[: len(token) // 2]
    yield "form: as JSON", json.dumps({"protected": head, "payload": body, "signature": signature})
    yield "form: twice", f"{token}.{token}"
    yield "form: 9 KiB", good(key, _with(claims, x="a" * 9 * 1024), header)
    for name, payload in (
        ("a member twice", dumped(claims)[:-1] + b',"iss":"somebody else"' * 2 + b"}"),
        ("NaN", dumped(claims)[:-1] + b',"x":NaN}'),
        ("infinity", dumped(claims)[:-1] + b',"x":-Infinity}'),
        ("an array", b"[" + dumped(claims) + b"]"),
        ("a text", dumped(dumped(claims).decode())),
        ("null", b"null"),
        ("nothing", b"{"),
        ("nested", _nested(claims)),
        ("no UTF-8", dumped(claims)[:-1] + b',"x":"\xff"}'),
        ("UTF-16", json.dumps(claims).encode("utf-16")),
        ("more after its end", dumped(claims) + b"{}"),
        ("another JWT", token.encode()),
        ("a number of 5,000 digits", dumped(claims)[:-1] + b',"x":1' + b"0" * 5000 + b"}"),
    ):
        yield f"form: the payload is {name}", signed(key, header["alg"], dumped(header), payload)


def _claims(key: PrivateKey, claims: Json, header: Json) -> Iterator[tuple[str, str]]:
    def with_claims(**changed: Any) -> str:
        return good(key, _with(claims, **changed), header)

    now = claims["iat"]
    texts: tuple[Any, ...] = (GONE, "", "somebody else", 7, True, None, {}, [], "\ud800")
    times: tuple[Any, ...] = (GONE, -1, 0, True, None, "", [now], {}, 10**18, 10**400, -(10**400), 1.7e308)
    for name in ("iss", "sub"):
        for wrong in (*texts, [claims.get(name)], f"{claims.get(name)} ", f"{claims.get(name)}\0"):
            if name in claims:
                yield f"claim: {name} {_said(wrong)}", with_claims(**{name: wrong})
    if "aud" in claims:
        for wrong in (
            *texts,
            ["somebody else"],
            [claims["aud"], 7],
            [claims["aud"], "https://other.test"],
            [f"{claims['aud']}/", "https://other.test"],
            [[claims["aud"]]],
            {"aud": claims["aud"]},
        ):
            yield f"claim: aud {_said(wrong)}", with_claims(aud=wrong)
        yield "claim: aud of another path", with_claims(aud=f"{claims['aud']}/x")
    else:
        yield "claim: aud", with_claims(aud="https://ostiary.test")
    if "exp" in claims:
        for wrong in (*times, str(claims["exp"]), now - HOUR, now + 3 * HOUR):
            yield f"claim: exp {_said(wrong)}", with_claims(exp=wrong)
    if "iat" in claims:
        for wrong in (True, None, str(now), [now], 10**18, 10**400, now + HOUR, now - 30 * HOUR):
            yield f"claim: iat {_said(wrong)}", with_claims(iat=wrong)
    for wrong in (now + HOUR, str(now), True, None, 10**400, [0]):
        yield f"claim: nbf {_said(wrong)}", with_claims(nbf=wrong)
    for wrong in (GONE, "", 7, None, True, ["a"], {}, "a" * 257, "\ud800"):
        yield f"claim: jti {_said(wrong)}", with_claims(jti=wrong)
    for name in ("exp", "iat"):
        if name in claims:
            for wrong in (b"1e999", b"-1e999"):
                text = dumped(_with(claims, **{name: 987654321})).replace(b"987654321", wrong)
                yield f"claim: {name} {wrong.decode()}", signed(key, header["alg"], dumped(header), text)


def _said(value: Any) -> str:
    return "missing" if value is GONE else ascii(value)[:40]


def _nested(members: Json) -> bytes:
    return dumped(members)[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}"


def _otherwise(token: str) -> str:
    """Change the unused bits of the last character, or append a character where there are none."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = len(token.rpartition(".")[2]) % 4
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1] if spare else f"{token}A"
