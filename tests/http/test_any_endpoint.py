"""B1: requests that no endpoint accepts, and failures of the installation."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.routing import compile_path

from ostiary.http import edge
from ostiary.storage.store import Tx
from tests.api.routes import HOT, methods_of
from tests.cast import Answer, Front

PATHS = (
    "/v1/verify", "/v1/capabilities", "/v1/authorize/-", "/v1/authorize/web/x", "/v1/authorize-nginx/-",
    "/v1/service-accounts", "/v1/credentials/x", "/healthz", "/nowhere",
)  # fmt: skip


def knock(
    front: Front,
    method: str,
    path: str,
    fields: list[tuple[str, str]],
    content: bytes = b"",
    query: str = "",
    version: str = "1.1",
) -> Answer:
    """Send a request with exactly these headers. `Front.ask` would add its own Host."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": version,
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields],
        "client": ("192.0.2.1", 40000),
        "server": ("localhost", 8080),
    }
    return front._runner.run(front._send(scope, content))


def is_problem(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"http://localhost:8080/docs/troubleshooting#{code}"
    assert {"title", "detail"} <= body.keys()


@pytest.mark.parametrize("path", PATHS)
def test_what_no_address_takes(front: Front, path: str) -> None:
    """B1 breaks: an oversized or ambiguous request reaches a handler."""
    key = ("x-api-key", front.house.alice_key)
    host = ("host", "localhost")
    room = 16 * 1024 - len("host") - len("localhost") - 4 - len("x") - 4
    cases: dict[str, tuple[int, str, Answer]] = {
        "no Host": (400, "invalid-request", knock(front, "GET", path, [key])),
        "declared too large": (
            413,
            "content-too-large",
            knock(front, "POST", path, [host, key, ("content-length", "99000000000")]),
        ),
        "two Hosts": (400, "invalid-request", knock(front, "GET", path, [host, host, key])),
        "101 fields": (
            431,
            "header-fields-too-large",
            knock(front, "GET", path, [host, *[("x", "y")] * 100]),
        ),
        "fields over 16 KiB": (
            431,
            "header-fields-too-large",
            knock(front, "GET", path, [host, ("x", "y" * (room + 1))]),
        ),
        "target over 8 KiB": (
            414,
            "uri-too-long",
            knock(front, "GET", path, [host, key], query="x" * (8192 - len(path))),
        ),
        "gzip": (
            415,
            "unsupported-media-type",
            knock(front, "POST", path, [host, key, ("content-encoding", "gzip")]),
        ),
    }
    if path.startswith("/v1/authorize"):
        # the encoding describes another server's body
        assert cases.pop("declared too large")[2].status == (200 if path.endswith("-") else 403)
        assert cases.pop("gzip")[2].status == (200 if path.endswith("-") else 403)
    for what, (status, code, answer) in cases.items():
        if path.startswith("/v1/authorize-nginx"):
            assert (answer.status, answer.headers["x-auth-error"]) == (403, "invalid_request"), what
            continue
        is_problem(answer, status, code)
        closes = answer.headers.get("connection") == "close"
        assert closes == (status != 415), what
    for fits in (
        knock(front, "GET", path, [host, *[("x", "y")] * 99]),
        knock(front, "GET", path, [host, ("x", "y" * room)]),
        knock(front, "GET", path, [host, key], query="x" * (8191 - len(path))),
    ):
        assert fits.status not in (400, 413, 414, 431), fits.body


@pytest.mark.parametrize("path", ["/healthz", "/v1/capabilities", "/v1/service-accounts", "/sign-in"])
def test_a_client_of_http_1_0_needs_no_host(front: Front, path: str) -> None:
    """B1 breaks: HAProxy's plain health check marks every node down, or HTTP/1.0 requests with two Host
    headers pass.
    """
    key = ("x-api-key", front.house.alice_key)
    assert knock(front, "GET", path, [key], version="1.0").status == 200
    two = [("host", "a"), ("host", "b"), key]
    is_problem(knock(front, "GET", path, two, version="1.0"), 400, "invalid-request")


def test_what_is_refused_at_once_is_logged(front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/operations.md breaks: an operator cannot see why a client or a health check is refused."""
    knock(front, "GET", "/healthz", [("user-agent", "secret agent")])
    read = capsys.readouterr()
    told = read.out + read.err
    assert "turned away" in told
    assert "A request has one Host field." in told
    assert "192.0.2.1" in told
    assert "secret agent" not in told


@pytest.mark.parametrize("path", PATHS)
def test_a_target_has_no_controls_and_no_half_escapes(front: Front, path: str) -> None:
    """B1 breaks: a request target that two parsers read differently reaches a handler."""
    for bad in ("%", "%z", "%4", "%zz", "%00", "%0a", "%0D", "%1f", "%7f", " ", "\t", "\x01", "\x7f", "é"):
        for target in (f"{path}{bad}", f"{path}?x={bad}"):
            answer = front.ask("GET", target, key=front.house.alice_key)
            if path.startswith("/v1/authorize-nginx"):
                assert (answer.status, answer.headers["x-auth-error"]) == (403, "invalid_request")
            else:
                is_problem(answer, 400, "invalid-request")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/verify"), ("POST", "/v1/service-accounts"), ("PUT", "/v1/access-rules/web")],
)
def test_a_body_is_small(front: Front, method: str, path: str) -> None:
    """B1 breaks: a body over 64 KiB is read."""
    key = front.house.alice_key
    whole = b'{"x":"' + b"y" * (64 * 1024 - 8) + b'"}'
    assert len(whole) == 64 * 1024
    is_problem(front.ask(method, path, key=key, raw=whole), 422, "validation-failed")
    is_problem(front.ask(method, path, key=key, raw=whole + b" "), 413, "content-too-large")
    fields = [("content-type", "Application/JSON; charset=utf-8")]
    assert front.ask(method, path, key=key, raw=b"{}", headers=fields).status == 422


@pytest.mark.promise("P20")
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/service-accounts", "/nowhere"])
def test_a_body_that_does_not_come_is_not_waited_for(
    front: Front, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B1 breaks: a slow client occupies a request without a time limit."""
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.01)

    class Slow:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            parts = [{"type": "http.request", "body": b'{"half', "more_body": True}]

            async def half() -> dict[str, Any]:
                if not parts:
                    await asyncio.Event().wait()
                return parts.pop()

            await whole(scope, half, send)

    whole = front.door
    front.door = Slow()  # type: ignore[assignment] # an application around the application
    answer = front.ask("POST", path, key=front.house.alice_key, raw=b"")
    is_problem(answer, 408, "request-timeout")
    assert answer.headers["connection"] == "close"


@pytest.mark.promise("P20")
def test_large_bodies_wait_for_room(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: unauthenticated clients fill the memory with bodies of 2 MiB on many connections."""
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.2)
    read: list[int] = []
    most = 0

    async def send_much(scope: Any, answered: Any) -> None:
        parts = 0

        async def receive() -> dict[str, Any]:
            nonlocal parts, most
            if parts == 16:
                await asyncio.Event().wait()
            parts += 1
            read.append(65_536)
            most = max(most, sum(read))
            return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

        await whole(dict(scope), receive, answered)
        del read[:parts]

    class Flood:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def unheard(_message: Any) -> None:
                pass

            each = [send_much(scope, unheard) for _ in range(49)]
            await asyncio.gather(*each, send_much(scope, send))

    whole = front.door
    front.door = Flood()  # type: ignore[assignment] # an application around the application
    is_problem(front.ask("POST", "/v1/credentials/import", raw=b""), 408, "request-timeout")
    assert most <= 20 * 1024 * 1024
    front.door = whole
    big = b'{"prefix":"' + b"x" * 100_000 + b'"}'
    answer = front.ask("POST", "/v1/credentials/import", key=front.house.alice_key, raw=big)
    is_problem(answer, 422, "validation-failed")


def test_an_unknown_path_is_not_found(front: Front) -> None:
    """B1 breaks: the response for an unknown path has another form than other problems."""
    for path in ("/nowhere", "/v1", "/v1/", "/v1/verify/", "/v1/authorize", "/v1/service-accounts/",
                 "/openapi", "/V1/capabilities", "//v1/capabilities"):  # fmt: skip
        for method in ("GET", "POST"):
            is_problem(front.ask(method, path, key=front.house.alice_key), 404, "not-found")


def test_a_wrong_method_is_told_all_the_right_ones(front: Front) -> None:
    """§3.1 breaks (RFC 9110 §15.5.6): `Allow` is missing, or does not list every method of the path."""
    checked = 0
    templates = methods_of(front)
    for path in templates:
        if path.startswith("/v1/authorize"):
            continue  # any method
        target = path.replace("{", "").replace("}", "")
        # Another template may match too: /credentials/import also matches the path of a credential.
        fitting = (each for each in templates if compile_path(each)[0].match(target))
        methods: set[str] = set().union(*(templates[each] for each in fitting))
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - methods:
            answer = front.ask(method, target, key=front.house.alice_key)
            is_problem(answer, 405, "method-not-allowed")
            allowed = {each.strip() for each in answer.headers["allow"].split(",")}
            assert allowed == methods, (method, path)
            checked += 1
    assert checked > len(HOT)


@pytest.mark.promise("P7")
def test_an_unhandled_exception_tells_the_request_id_only(front: Front) -> None:
    """B1 breaks: a 500 response reveals internals, or has no id to find it in the log."""
    house = front.house
    key = house.key(house.account())

    def spoil(tx: Tx) -> None:
        tx.execute(sa.text("UPDATE credentials SET allowed_ips = '[\"canary\"]'"))
        tx.changed("installation", "all")

    house.store.write_on((), spoil)
    for method, path in (("GET", "/v1/capabilities"), ("GET", "/v1/authorize/-"), ("GET", "/v1/credentials")):
        answer = front.ask(method, path, key=key.secret.reveal())
        is_problem(answer, 500, "internal")
        assert answer.json()["instance"].startswith("req_")
        assert b"canary" not in answer.body
        assert b"Error" not in answer.body.replace(b"Internal Error", b"")


def test_a_full_disk_is_said_to_be_full(front: Front) -> None:
    """B1 breaks: a full disk is reported as an internal error, or a change is stored in part."""
    house = front.house
    with house.store.engines.writer.connect() as connection:
        size = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {size}")
    body = {"display_name": "Robo", "description": "x" * 2000}
    for _ in range(20):
        before = front.ask("GET", "/v1/service-accounts?limit=200", key=house.alice_key).json()
        answer = front.ask("POST", "/v1/service-accounts", body, key=house.alice_key)
        if answer.status != 201:
            break
    is_problem(answer, 507, "storage-full")
    assert "retry-after" in answer.headers
    after = front.ask("GET", "/v1/service-accounts?limit=200", key=house.alice_key).json()
    assert after == before
    assert front.verify(house.alice_key)["valid"]


@pytest.mark.promise("P5")
def test_without_an_audit_log_nothing_is_done(front: Front) -> None:
    """B1, P5 break: a change or refusal is acknowledged although it cannot be recorded in the audit log."""
    house = front.house
    robo = house.key(house.account(roles=("viewer",))).secret.reveal()
    with house.store.engines.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_events RENAME TO elsewhere")
    body = {"display_name": "New"}
    for key in (house.alice_key, robo):  # an allowed caller, and one whose refusal is an audit event
        answer = front.ask("POST", "/v1/service-accounts", body, key=key)
        is_problem(answer, 503, "audit-unavailable")
        assert "retry-after" in answer.headers
    listed = front.ask("GET", "/v1/service-accounts", key=house.alice_key).json()["data"]
    assert [each["display_name"] for each in listed] == ["Robo"]
