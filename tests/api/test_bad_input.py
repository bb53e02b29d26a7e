"""B8: responses of the management API to invalid bodies. Each case runs on every route."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from ostiary.core.instant import SECOND, to_text
from ostiary.http.verify import VERIFY_FIELDS
from tests.api.bodies import MEMBERS, members_of, models
from tests.api.routes import methods_of
from tests.api.scene import CANARY, VERIFY, Scene, is_refused
from tests.cast import NOON, Front
from tests.conftest import PROVE
from tests.http.test_any_endpoint import is_problem

pytestmark = pytest.mark.promise("P20")

BODIES = (*MEMBERS, VERIFY)
ACCOUNTS = "/v1/service-accounts"


@pytest.fixture
def scene(front: Front) -> Scene:
    return Scene(front)


Place = TypeVar("Place")
Value = TypeVar("Value")


def spread(places: Sequence[Place], values: Sequence[Value]) -> Iterator[tuple[Place, Value]]:
    """Return all values at the first place, and the values in turn at each other place, because one check
    serves all.

    A full run tries all values at all places.
    """
    for number, place in enumerate(places):
        for value in values if PROVE or number == 0 else [values[number % len(values)]]:
            yield place, value


@contextmanager
def one_of_many(scene: Scene, case: str) -> Iterator[None]:
    """Add the case to a failure message. The clock advances, so that no rate limit is reached."""
    scene.front.house.clock.advance(SECOND // 10)
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{case}: {error}") from error


# Any body


def test_every_member_has_a_line(front: Front) -> None:
    """B8 breaks: a body has a field for which nobody listed the kind and the invalid values."""
    assert models().keys() == MEMBERS.keys()
    for route, model in models().items():
        assert set(members_of(model)) == MEMBERS[route].keys(), route
    assert {kind for members in MEMBERS.values() for kind in members.values()} == WRONG.keys()
    taking = {f"{method} {path}" for path, methods in methods_of(front).items() for method in methods}
    assert set(BODIES) <= taking


DEEP = b"[" * 32 + b"]" * 32
UNREADABLE: dict[str, bytes] = {
    "malformed JSON: nothing": b"",
    "malformed JSON: half": b"{",
    "malformed JSON: comma at the end": b'{"a":1,}',
    "malformed JSON: single quotes": b"{'a':1}",
    "malformed JSON: two values": b'{"a":1} {}',
    "malformed JSON: byte order mark": b'\xef\xbb\xbf{"a":1}',
    "malformed JSON: comment": b'{"a":1}//',
    "malformed JSON: a value alone": CANARY.encode(),
    "body not UTF-8": b'{"a":"\xff"}',
    "body not UTF-8: an encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "duplicate member": b'{"name":"a","name":"a"}',
    "duplicate member: differing": b'{"name":"a","name":"b"}',
    "duplicate member: spelt with an escape": b'{"name":"a","n\\u0061me":"a"}',
    "duplicate member: further in": b'{"roles":[{"role":"a","role":"b"}]}',
    "NaN": b'{"a":NaN}',
    "NaN: infinity": b'{"a":Infinity}',
    "NaN: minus infinity": b'{"a":-Infinity}',
    "1e999": b'{"a":1e999}',
    "1e999: minus": b'{"a":-1e999}',
    "integer over 2^53": b'{"a":9007199254740993}',
    "integer under -2^53": b'{"a":-9007199254740993}',
    "integer of 5000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "nesting over 32": b'{"a":' + DEEP + b"}",
    "nesting over 32: unclosed": b"[" * 60_000,
    "nesting over 32: objects": b'{"a":' * 33 + b"1" + b"}" * 33,
}
NO_BODY: dict[str, tuple[bytes, str, str]] = {
    "lone surrogate": (b'{"a":"\\ud800"}', "/a", "invalid-text"),
    "lone surrogate: further in": (b'{"a":[{"b":"x\\udfffx"}]}', "/a/0/b", "invalid-text"),
    "lone surrogate: member": (b'{"\\udfff":1}', "", "invalid-text"),
    "NUL": (b'{"a":"x\\u0000"}', "/a", "invalid-text"),
    "NUL: member": (b'{"a":{"\\u0000":1}}', "/a", "invalid-text"),
    "wrong type: null": (b"null", "", "wrong-type"),
    "wrong type: a list": (b"[]", "", "wrong-type"),
    "wrong type: a text": (b'"' + CANARY.encode() + b'"', "", "wrong-type"),
    "wrong type: a number": (b"1", "", "wrong-type"),
}


def test_what_two_parsers_could_read_differently(scene: Scene) -> None:
    """B8 breaks: a body that two parsers read differently is accepted, or causes a server error."""
    before = scene.state()
    for route, (what, raw) in spread(BODIES, [*UNREADABLE.items()]):
        with one_of_many(scene, f"{route}: {what}"):
            is_refused(scene.ask(route, raw=raw), 400, "invalid-json")
    assert scene.state() == before


def test_what_is_no_body(scene: Scene) -> None:
    """B8 breaks: a service receives text that a database refuses or changes, or a body without fields."""
    for route, (what, (raw, pointer, code)) in spread(BODIES, [*NO_BODY.items()]):
        with one_of_many(scene, f"{route}: {what}"):
            is_refused(scene.ask(route, raw=raw), 422, "validation-failed", (pointer, code))


def test_what_is_just_readable(scene: Scene) -> None:
    """B8 breaks the other way: brackets inside strings count as nesting, or 32 levels or 2⁵³ are refused."""
    text = json.dumps({"text": '[{"\\' * 100, "more": "[" * 100})
    for raw in (text.encode(), b'{"a":' + DEEP[1:-1] + b"}", b'{"a":9007199254740992}', b'{"a":1e308}'):
        for route in BODIES:
            assert scene.ask(route, raw=raw).json()["code"] == "validation-failed", raw[:60]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""]
)
def test_a_body_of_another_type(scene: Scene, content_type: str) -> None:
    """B1 breaks: a content type that a browser's form can send across sites is accepted as JSON."""
    for route in BODIES:
        fields = [("content-type", content_type)]
        is_refused(scene.ask(route, scene.body(route), headers=fields), 415, "unsupported-media-type")
        none = scene.ask(route)
        is_refused(none, 415, "unsupported-media-type")


def test_unknown_members(scene: Scene) -> None:
    """B8 breaks: a misspelt field is silently ignored, or the response repeats its full name."""
    before = scene.state()
    for route in BODIES:
        body = scene.body(route) | {"surplus": CANARY, "id": CANARY, "a/b~c": 1, "x" * 200: 1, "": 1}
        fields = [(each, "unknown-member") for each in ("/surplus", "/id", "/a~1b~0c", "/" + "x" * 64, "/")]
        is_refused(scene.ask(route, body), 422, "validation-failed", *fields)
    for route, members in MEMBERS.items():
        for pointer in {each.rpartition("/")[0] for each in members} - {""}:
            answer = scene.send(route, f"{pointer}/surplus", CANARY)
            is_refused(answer, 422, "validation-failed", (f"{pointer}/surplus", "unknown-member"))
    assert scene.state() == before


def test_missing_members(scene: Scene) -> None:
    """B8 breaks: a required field can be omitted, or the error has no pointer to it."""
    checked = 0
    for route in BODIES:
        required = ["credential"] if route == VERIFY else [
            name for name, field in models()[route].model_fields.items() if field.is_required()
        ]  # fmt: skip
        if required:
            fields = [(f"/{name}", "missing") for name in required]
            is_refused(scene.ask(route, {}), 422, "validation-failed", *fields)
            more = scene.ask(route, {"surplus": CANARY})
            is_refused(more, 422, "validation-failed", *fields, ("/surplus", "unknown-member"))
            checked += len(fields)
            nothing = scene.ask(route, dict.fromkeys(required))
            is_problem(nothing, 422, "validation-failed")
            assert {each["pointer"] for each in nothing.json()["errors"]} == {f"/{name}" for name in required}
    inside = {
        "POST /v1/service-accounts": ({"display_name": "x", "roles": [{}], "credential": {}},
                                      ["/roles/0/role"]),
        "POST /v1/invitations": ({"email": "x@acme.test", "roles": [{}]}, ["/roles/0/role"]),
        "PUT /v1/access-rules/{name}": ({"match": [{}]}, ["/match/0/path"]),
        "PUT /v1/projects/{project}/role-bindings": ({"bindings": [{}]},
                                                     ["/bindings/0/principal", "/bindings/0/role"]),
    }  # fmt: skip
    for route, (body, pointers) in inside.items():
        fields = [(each, "missing") for each in pointers]
        is_refused(scene.ask(route, body), 422, "validation-failed", *fields)
    assert checked > 10


def test_members_of_the_wrong_type(scene: Scene) -> None:
    """B8 breaks: a number is accepted as a string, a string as a list, or the error does not name the field."""
    before = scene.state()
    for route, members in MEMBERS.items():
        for pointer in members:
            for value in (1.5, {"x": CANARY}, [[CANARY]]):
                answer = scene.send(route, pointer, value)
                is_problem(answer, 422, "validation-failed")
                for error in answer.json()["errors"]:
                    # An item of a list is named where the member is one.
                    assert error["pointer"] in (pointer, f"{pointer}/0"), (route, error)
                    assert error["code"] in ("wrong-type", "invalid")
                assert CANARY not in answer.body.decode()
        for pointer in {each.split("/")[1] for each in members if each.count("/") > 1}:
            answer = scene.ask(route, scene.body(route) | {pointer: 1.5})
            is_refused(answer, 422, "validation-failed", (f"/{pointer}", "wrong-type"))
    for name in VERIFY_FIELDS:
        answer = scene.send(VERIFY, f"/{name}", {"x": CANARY})
        is_refused(answer, 422, "validation-failed", (f"/{name}", "wrong-type"))
    assert scene.state() == before


def test_all_wrong_members_at_once(scene: Scene) -> None:
    """CLI breaks: only one error is reported at a time, so the user must send the form once per mistake."""
    for route, members in MEMBERS.items():
        tops = {each.split("/")[1] for each in members}
        body = dict.fromkeys(tops, 1.5) | {CANARY[:5]: 1}
        answer = scene.ask(route, body)
        is_problem(answer, 422, "validation-failed")
        found = {each["pointer"] for each in answer.json()["errors"]}
        assert found == {f"/{name}" for name in body}, route
    wrong = {name: {"x": CANARY} for name in VERIFY_FIELDS}
    is_refused(
        scene.ask(VERIFY, wrong), 422, "validation-failed", *((f"/{name}", "wrong-type") for name in wrong)
    )
    contradicted = {"display_name": "x", "scopes": ["fly:moon"], "resources": ["*"], "access_level": "full"}
    fields = [("/scopes", "contradiction"), ("/scopes/0", "unknown-scope"), ("/resources/0", "invalid")]
    is_refused(scene.ask(f"POST {ACCOUNTS}", contradicted), 422, "validation-failed", *fields)


@pytest.mark.promise("P7")
def test_a_secret_in_a_body(scene: Scene) -> None:
    """P7, CLI break: a key pasted into a body is stored in clear, or repeated in the response."""
    secret = scene.front.house.alice_key
    random = secret[35:-6]
    before = scene.state()
    for route, members in MEMBERS.items():
        for pointer in members:
            for value in (secret, f"see {secret}.", [secret]):
                answer = scene.send(route, pointer, value)
                where = f"{pointer}/0" if isinstance(value, list) else pointer
                is_refused(answer, 422, "validation-failed", (where, "holds-secret"))
                assert not [n for n in range(len(random) - 11) if random[n : n + 12] in answer.body.decode()]
        answer = scene.ask(route, scene.body(route) | {secret: 1})
        assert answer.status == 422
        assert not [n for n in range(len(random) - 11) if random[n : n + 12] in answer.body.decode()]
    assert scene.state() == before


# Values, by what a member is

INVISIBLE = {
    "control": "a\x07b",
    "line break": "a\nb",
    "bidirectional override": "a\u202eb",
    "bidirectional isolate": "a\u2066b",
    "zero width": "a\u200bb",
}
SLUGS = {"capital": "A-b", "one letter": "a", "hyphen first": "-ab", "over 63": "a" * 64,
         "line break": "ab\n", "not ASCII": "é́́b", "empty": "", "dot": "a.b"}  # fmt: skip
Wrong = dict[str, tuple[object, str, str]]
"""What is wrong: the value, where below the member it stands, and the code."""


def faults(values: dict[str, Any], where: str = "", code: str = "invalid") -> Wrong:
    return {what: (value, where, code) for what, value in values.items()}


WRONG: dict[str, Wrong] = {
    "display name": faults({"empty": "", "blank": " \t ", "over 253": "x" * 254} | INVISIBLE),
    "description": faults({"over 2000": "x" * 2001, "control": "a\x07b", "bidirectional": "a\u202eb"}),
    "email": faults({"no @": "nobody-there", "two @": "a@b@c", "header": "a@b.test\nBcc: c@d", "empty": "",
                   "long": "a" * 65 + "@b.test", "name": "Al <a@b.test>", "not ASCII": "é@b.test"}),
    "slug": faults(SLUGS),
    "code": faults(SLUGS),
    "username": faults(SLUGS),
    "role name": faults(SLUGS),
    "flag": faults({"text": "yes", "number": 1, "one": 1}, code="wrong-type"),
    "number": faults({"minus": -1, "large": 10_000_001, "text": "many-of-them", "true": True, "half": 0.5}),
    "uses": faults({"zero": 0, "minus": -1, "large": 1_000_001, "text": "as-often-as", "true": True, "half": 0.5}),
    "rate": faults({"zero": 0, "minus": -1, "large": 1_000_001})
    | faults({"text": "60", "true": True, "half": 0.5, "none": "none"}, code="wrong-type")
    | faults({"beyond policy": 1001}, code="beyond-policy"),
    "length": faults({"word": "soon-enough", "number": 90, "minus": "-1d", "empty": "", "over 100 years": "36501d",
                    "beyond the calendar": "9999999d"}),
    "delay": faults({"word": "soon-enough", "none": "none", "number": 24, "over 30 days": "31d"}),
    "expiry": faults({"word": "tomorrow", "without zone": "2028-03-17T10:20:30", "no such day":
                    "2027-02-31T00:00:00Z", "day alone": "2028-03-17", "empty": "",
                    "other digits": "٢٠٢٧-01-31T00:00:00Z", "year 10000": "10000-01-01T00:00:00Z"})
    | faults({"past": "2020-01-01T00:00:00Z", "now": to_text(NOON)}, code="past")
    | faults({"beyond policy": "9999-12-31T23:59:59Z"}, code="beyond-policy"),
    "import expiry": faults({"word": "tomorrow", "without zone": "2028-03-17T10:20:30", "no such day": "2027-02-31",
                             "empty": ""}),
    "addresses": faults({"CIDR 10.0.0.0/33": ["10.0.0.0/33"], "CIDR 010.0.0.1": ["010.0.0.1"],
                       "CIDR host bits": ["10.0.0.1/8"], "CIDR over 100 entries": [f"10.0.0.{n}" for n in
                       range(101)], "two parts": ["10.1"], "zone": ["fe80::1%eth0"], "name": ["db.internal"],
                       "mask": ["10.0.0.0/255.0.0.0"], "empty": [""], "second": ["10.0.0.1", "10.0.0.1/8"]})
    | {"text": ("10.0.0.1", "", "wrong-type")},
    "level": faults({"other": "root-of-all", "empty": "", "hyphen": "fine-grained"}),
    "scopes": faults({"unknown": ["fly:moon"], "empty": [""], "no form": ["READ everything"]}, "/0",
                   "unknown-scope")
    | {"second": (["read:agents", "fly:moon"], "/1", "unknown-scope"),
       "text": ("read:agents", "", "wrong-type"), "number": ([1], "/0", "wrong-type"),
       "over 100": ([f"read:x{n}" for n in range(101)], "", "invalid"),
       "long": (["read:" + "x" * 252], "", "invalid")},
    "resources": faults({"dots": ["../x"], "star": ["*"], "two stars": ["agents/**"], "empty": [""],
                       "slash first": ["/agents"], "space": ["a b"]}, "/0")
    | {"second": (["agents/1", "*"], "/1", "invalid"), "text": ("agents/*", "", "wrong-type")},
    "projects": {"text": ("website", "", "wrong-type"), "number": ([1], "/0", "wrong-type"),
               "over 100": ([f"p{n}" for n in range(101)], "", "invalid")},
    "kind": faults({"other": "password", "empty": ""}),
    "algorithm": faults({"other": "HS256", "empty": ""}),
    "compat": faults({"other": "another", "empty": ""}),
    "project": faults({"empty": "", "over 64": "x" * 65}),
    "role": faults({"unknown": "king-of-all"}, code="unknown-role") | faults({"empty": "", "over 64": "x" * 65}),
    "place": faults({"empty": "", "over 64": "x" * 65}),
    "principal": faults({"empty": "", "over 256": "x" * 257}),
    "new scope": faults({"no verb": "invoices", "capital": "READ:invoices", "empty": "", "all": "api-and-more",
                       "over 96": "read:" + "x" * 92, "two": "read:a:b", "space": "read: a"})
    | faults({"of this API": "delete:credentials", "the audit log": "write:audit"}, code="reserved"),
    "methods": {"small": (["get"], "^", "invalid"), "none": ([], "", "invalid"),
                "many": (["GET"] * 21, "", "invalid"), "star": (["*"], "^", "invalid")},
    "rule path": {"no slash": ("agents-without", "^", "invalid"), "dots": ("/a/../b", "^", "invalid"),
                  "star inside": ("/a/**/b", "^", "invalid"), "twice": ("/{id}/{id}", "^", "invalid"),
                  "long": ("/" + "x" * 1024, "", "invalid")},
    "rule scopes": {"unknown": (["fly:moon"], "", "unknown-scope"), "no form": (["READ"], "^", "invalid")},
    "rule resource": {"unknown name": ("agents/{nobody}", "^", "invalid"), "empty": ("", "^", "invalid"),
                      "star": ("agents/*", "^", "invalid"), "long": ("x" * 257, "", "invalid")},
    "rule project": faults({"empty": "", "over 64": "x" * 65}),
    "rule organizations": {"none": ([], "", "invalid"), "empty": ([""], "/0", "invalid")},
    "kinds": {"none": ([], "", "invalid"), "other": (["password"], "/0", "invalid")},
    "overlap": faults({"word": "soon-enough", "minus": "-1d", "empty": "", "none": "none"})
    | faults({"over 30 days": "31d"}, code="out-of-range"),
    "rotation": faults({"other": "begin-again", "empty": ""}),
    "import prefix": faults({"short": "sk", "over 16": "x" * 17, "space": "sk live", "empty": ""})
    | faults({"not registered": "unregistered_"}, code="unknown-prefix"),
    "new prefix": faults({"short": "sk", "over 16": "x" * 17, "space": "sk live", "hyphen first": "-sk"})
    | faults({"ours": "ak-", "begins like ours": "ak-live-", "another of ours": "secret_"}, code="reserved"),
    "owner": faults({"empty": "", "over 256": "x" * 257}),
    "digest": faults({"short": "ab" * 31, "long": "ab" * 33, "no digits": "xy" * 32, "empty": "",
                      "other digits": "٢" * 64, "0x": "0x" + "ab" * 31}),
    "audience": faults({"no scheme": "agents-api", "relative": "/agents", "fragment": "https://a.test/#x", "empty": "",
                      "space": "https://a b.test", "long": "https://a.test/" + "x" * 512, "no host": "https://"}),
    "no": faults({"yes": True}),
    "session length": faults({"word": "soon-enough", "none": "none", "number": 24, "short": "299s", "long": "366d"}),
    "signed": faults({"empty": "", "long": "x" * 8193}),
    "redirects": faults({"http": ["http://app.test/cb"], "fragment": ["https://app.test/#x"], "wildcard": ["https://*.app.test/"],
                         "userinfo": ["https://a@app.test/"], "script": ["javascript:alert(1)"], "empty": [""],
                         "relative": ["/callback"], "backslash": ["https://app.test\\@evil.test/"]}, "/0")
    | {"second": (["https://app.test/", "data:text/html,x"], "/1", "invalid"), "none": ([], "", "invalid"),
       "over 10": ([f"https://app.test/{n}" for n in range(11)], "", "invalid"),
       "text": ("https://app.test/", "", "wrong-type")},
    "grant types": faults({"other": ["client_credentials"], "empty": [""]}, "/0")
    | faults({"refresh alone": ["refresh_token"], "none": []}),
    "auth method": faults({"secret": "client_secret_basic", "empty": ""}),
    "key set": faults({"none": {"keys": []}, "no set": {"kty": "RSA"}, "private": {"keys": [{"kty": "OKP", "crv": "Ed25519",
                       "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "x"}]},
                       "shared": {"keys": [{"kty": "oct", "k": "x"}]},
                       "weak": {"keys": [{"kty": "RSA", "e": "AQAB", "n": "AQAB"}]}}),
    "https address": faults({"http": "http://app.test/keys", "file": "file:///etc/passwd", "relative": "/jwks.json",
                             "empty": "", "userinfo": "https://a:b@app.test/", "fragment": "https://app.test/#keys"}),
    "web address": faults({"script": "javascript:alert(1)", "relative": "/jwks.json", "empty": "", "userinfo": "https://a:b@app.test/"}),
    "own project": faults({"empty": "", "over 64": "x" * 65})
    | faults({"for nobody else": "shop-of-ours"}, code="contradiction"),
    "access": faults({"other": "everything", "empty": ""}),
    "default project": faults({"long": "x" * 65}),
}  # fmt: skip
"""`^` is the object that the member stands in: lines of rules are judged as a whole."""


def test_values_that_mean_nothing(scene: Scene) -> None:
    """B8 breaks: a meaningless value is stored or misread, or the error does not say where it is."""
    before = scene.state()
    for kind, wrong in WRONG.items():
        routes = [
            (route, at) for route, members in MEMBERS.items() for at, its in members.items() if its == kind
        ]
        assert routes
        for (route, pointer), (what, (value, below, code)) in spread(routes, [*wrong.items()]):
            if kind == "delay" and what == "over 30 days" and pointer.startswith("/ceilings"):
                continue  # a ceiling above what can be chosen is harmless
            where = pointer.rpartition("/")[0] if below == "^" else pointer + below
            with one_of_many(scene, f"{route} {pointer} {kind} {what}"):
                answer = scene.send(route, pointer, value)
                is_refused(answer, 422, "validation-failed", (where, code))
            for text in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
                assert not (isinstance(text, str) and len(text) > 8 and text in answer.body.decode())
    assert scene.state() == before
