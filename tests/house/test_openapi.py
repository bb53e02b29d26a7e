"""The OpenAPI document describes the API, and other tools can read it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from ostiary.api.route import ApiRoute
from ostiary.core.access_token import ALIAS
from ostiary.core.permission import API_SCOPES, FIRST_CATALOGUE
from ostiary.core.secret import looks_like_secret
from ostiary.http.verify import INTROSPECT
from ostiary.node.app import PAGES
from ostiary.oauth.metadata import DOCUMENTS
from ostiary.services import credentials
from ostiary.services.issuance import CredentialSpec
from tests.api.routes import methods_of
from tests.cast import Front
from tests.house.generated_pages import OPENAPI
from tests.house.openapi import document, words
from tests.house.openapi.examples import EXAMPLE, studio

DOCUMENT: dict[str, Any] = json.loads(OPENAPI.read_text("utf-8"))
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def test_the_document_is_fresh_and_its_examples_are_true() -> None:
    """API breaks: the document differs from the API, or one of its examples is refused.

    `make docs` writes it. It sends every example to the application and records the response.
    """
    assert OPENAPI.read_text("utf-8") == document.text()


def test_others_can_read_it() -> None:
    """API breaks: the document is not valid OpenAPI 3.1."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


SPELLINGS = {each for document in DOCUMENTS for each in (f"{ALIAS}{document}", f"{document}{ALIAS}")}
"""The path of the second issuer's metadata. The document mentions it in a sentence."""


def test_every_address_is_in_it(front: Front) -> None:
    """API breaks: a route is not documented, or a documented route does not exist."""
    has = {
        (method, path)
        for path, methods in methods_of(front).items()
        for method in methods - {"HEAD", "OPTIONS"}  # browsers send preflight requests: `test_cross_origin`
        if not path.startswith(("/docs", "/openapi.json", "/metrics"))
        and path not in {"/", *SPELLINGS, *(route.path for route in PAGES)}
    } | {("POST", INTROSPECT.decode())}
    told = {(method.upper(), path) for method, path, _ in OPERATIONS.values()}
    assert has == told


def test_the_routes_of_the_api_are_ours() -> None:
    """Closed lists break: a route bypasses `ApiRoute`, or FastAPI reads its body."""
    for route in document.routes():
        assert isinstance(route, ApiRoute)
        assert route.body_field is None
        assert route.response_field is None


def test_an_operation_says_what_it_does() -> None:
    """API breaks: the document does not say what an operation does, accepts or requires."""
    for name in OPERATIONS:
        says_what_it_does(name, *OPERATIONS[name])


def says_what_it_does(name: str, method: str, path: str, operation: dict[str, Any]) -> None:
    assert re.fullmatch("[a-z]+(_[a-z]+)*", name)
    assert 10 <= len(operation["summary"]) <= 80
    assert operation["tags"][0] in words.TAGS
    if path.startswith("/v1/") and "authorize" not in path:
        named = set(re.findall(r"`([a-z]+:[a-z-]+)`", operation["description"])) - {"verb:noun"}
        assert named <= API_SCOPES
        assert named or re.search(
            "Any valid credential can call this|It needs no scope", operation["description"]
        )
    told = [parameter(each) for each in operation.get("parameters", [])]
    assert all(each["description"] for each in told)
    assert {each["name"] for each in told if each["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))
    assert [status for status in operation["responses"] if status.startswith("2")]
    content = [
        each
        for status, response in operation["responses"].items()
        if status.startswith("2")
        for each in response.get("content", {}).values()
    ]
    assert all("example" in each for each in [*content, *bodies(operation)])
    assert method != "get" or not bodies(operation)


def bodies(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return list(operation.get("requestBody", {}).get("content", {}).values())


def parameter(either: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (
        DOCUMENT["components"]["parameters"][either["$ref"].rpartition("/")[2]]
        if "$ref" in either
        else either
    )
    return found


def test_every_tag_is_used() -> None:
    """API breaks: a section of the document is empty."""
    assert {operation["tags"][0] for _, _, operation in OPERATIONS.values()} == set(words.TAGS)


def examples() -> Iterator[tuple[str, Any, Any]]:
    """Yield the location of each example of the document, its schema, and the example."""
    pending: list[tuple[str, Any]] = [("", DOCUMENT)]
    while pending:
        where, each = pending.pop()
        if isinstance(each, list):
            pending += [(f"{where}/{number}", inner) for number, inner in enumerate(each)]
        elif isinstance(each, dict):
            if "schema" in each and "example" in each:
                yield where, each["schema"], each["example"]
            pending += [(f"{where}/{name}", inner) for name, inner in each.items() if name != "example"]


def test_an_example_has_the_shape_that_is_documented() -> None:
    """API breaks: an example does not match its schema."""
    checked = 0
    for where, schema, value in examples():
        # References within the document resolve against a schema that contains its components.
        whole = {**schema, "components": DOCUMENT["components"]}
        validator = Draft202012Validator(whole, format_checker=FormatChecker())
        assert [error.message for error in validator.iter_errors(value)] == [], where
        checked += 1
    assert checked > len(OPERATIONS)


@pytest.mark.promise("P7")
def test_the_document_shows_no_secret() -> None:
    """P7 breaks: an example contains a complete key, or the document reveals the machine that generated it."""
    text = OPENAPI.read_text("utf-8")
    assert not looks_like_secret(text)
    found = re.findall(r"https?://[^\s\"`]*", text)
    assert [each for each in found if not EXAMPLE.match(each)] == []
    assert DOCUMENT["servers"] == [{"url": "/"}]


def needed() -> dict[str, str]:
    """Return the operations whose description names a required scope, with the scope."""
    found = {}
    for name, (_, _, operation) in OPERATIONS.items():
        named = re.search(r"Needs `([a-z]+:[a-z-]+)`", operation.get("description", ""))
        if named:
            found[name] = named[1]
    return found


@pytest.mark.promise("P19")
def test_an_operation_needs_the_scope_that_it_names() -> None:
    """P19 breaks: the document names a required scope, but a key without it can call the operation."""
    assert len(needed()) > 50
    with studio() as made, made.house("scopes") as front:
        house = front.house
        keys = {}
        for scope in set(needed().values()):
            others = tuple(sorted((API_SCOPES | set(FIRST_CATALOGUE)) - {scope}))
            spec = CredentialSpec(name=scope, access_level="fine_grained", scopes=others)
            keys[scope] = house.store.write(credentials.create_direct, house.alice, spec).secret.reveal()
        for name, scope in needed().items():
            method, path, operation = OPERATIONS[name]
            body = next((each["example"] for each in bodies(operation)), None)
            answer = front.ask(method.upper(), path.format(**made.names), body, key=keys[scope])
            assert (answer.status, answer.json()["scope"]) == (403, scope), name


def test_it_is_served_as_it_is(front: Front) -> None:
    """API breaks: the document is not served, or is sent again to a client that has it cached."""
    answer = front.ask("GET", "/openapi.json")
    assert (answer.status, answer.body) == (200, OPENAPI.read_bytes())
    assert answer.headers["content-type"] == "application/json"
    tag = answer.headers["etag"]
    assert re.fullmatch('"[0-9a-f]{24}"', tag)
    assert "no-store" not in answer.headers["cache-control"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = front.ask("GET", "/openapi.json", headers={"if-none-match": known})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert front.ask("GET", "/openapi.json", headers={"if-none-match": '"x"'}).status == 200
    head = front.ask("HEAD", "/openapi.json")
    assert (head.status, head.headers["etag"]) == (200, tag)
