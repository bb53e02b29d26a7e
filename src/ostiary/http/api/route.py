"""What every route of the management API shares: strict bodies, the caller, cursors, problems, the answer.

FastAPI's own body parsing is never used: `Body(Model)` reads the bytes, parses them strictly, then validates
with the model, all field errors at once. Handlers are plain `def`: they touch the store, so they run in a thread.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ostiary.core.event import Actor
from ostiary.core.permission import Caller
from ostiary.core.problem import FieldError, Problem, invalid_fields
from ostiary.http import messages
from ostiary.http.hotpath import HotPath
from ostiary.http.question import Question
from ostiary.http.telling import display_of
from ostiary.services import audit
from ostiary.storage.store import Store

Model = TypeVar("Model", bound=BaseModel)

MAX_PAGE = 200
DEFAULT_PAGE = 50


@dataclass(frozen=True, slots=True)
class Wiring:
    """What handlers reach through `request.app.state.wiring`."""

    store: Store
    hot: HotPath


class StrictModel(BaseModel):
    """A request body: nothing unknown, nothing coerced, no value repeated in an error."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class ApiRoute(APIRoute):
    """Turns problems into answers, and puts refusals into the audit log before the answer leaves."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                caller = getattr(request.state, "caller", None)
                if caller is not None and problem.status in (403, 404, 409):
                    try:
                        await run_in_threadpool(self._record, request, caller, problem)
                    except Problem as instead:
                        problem = instead
                return problem_response(request, problem)

        return guarded

    def _record(self, request: Request, caller: Caller, problem: Problem) -> None:
        wiring(request).store.write(
            audit.refuse,
            caller,
            request.method,
            self.path_format,
            problem.status,
            problem.code,
            problem.reason or problem.code,
        )


def wiring(request: Request) -> Wiring:
    found: Wiring = request.app.state.wiring
    return found


def _caller(request: Request) -> Caller:
    """Who calls: judged by the same verdict as every other use of a credential. Raises 401 and 403."""
    scope = request.scope
    hot = wiring(request).hot
    headers = scope["headers"]
    if messages.carries_query_credential(scope["query_string"]):
        raise messages.conflicting()
    address = scope["state"]["address"]
    verdict = hot.identify(messages.presented(headers), Question(address), "api")
    standing = verdict.standing
    assert standing is not None
    agent = messages.header(headers, b"user-agent") or b""
    caller = Caller(
        actor=Actor(
            standing.principal.kind, standing.principal.id, display_of(standing), standing.credential_id
        ),
        organization_id=standing.organization.id,
        scopes=verdict.scopes,
        operator=standing.organization.operator,
        address=address,
        user_agent=_printable(agent),
        request_id=scope["state"]["request_id"],
    )
    request.state.caller = caller
    return caller


def _printable(agent: bytes) -> str:
    """A user agent as the audit log keeps it: what it claims, without anything that looks like a secret."""
    from ostiary.core.secret import redact

    text = agent.decode("latin-1")[:200]
    return redact("".join(c if c.isprintable() else "?" for c in text))


CallerOf = Annotated[Caller, Depends(_caller)]


def body_of(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that reads the body as this model. Raises Problems with a pointer for each wrong field."""

    async def read(request: Request) -> Model:
        if not messages.is_json(request.scope["headers"]):
            raise Problem("unsupported-media-type", "Send the body as application/json.")
        value = messages.strict_json(await request.body())
        messages.refuse_secrets(value)
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise invalid_fields(
                tuple(field_error(each) for each in error.errors(include_url=False))
            ) from None

    return read


def field_error(error: Any) -> FieldError:
    """One of pydantic's errors in our words; the value that was sent is not repeated."""
    pointer = "".join(f"/{messages.escape(str(part))}" for part in error["loc"])
    match error["type"]:
        case "missing":
            return FieldError(pointer, "missing", "is required")
        case "extra_forbidden":
            return FieldError(pointer, "unknown-member", "is not a member of this request")
        case "value_error":
            return FieldError(pointer, "invalid", str(error["ctx"]["error"]))
        case kind:
            code = "wrong-type" if kind.endswith("_type") else "invalid"
            message = error["msg"].removeprefix("Input should ")
            return FieldError(pointer, code, f"should {message}" if message != error["msg"] else message)


# Pages


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of a list is asked for: below `after`, at most `limit` rows."""

    after: str | None
    limit: int
    _sign: Callable[[str], str]

    def answer(self, rows: list[dict[str, Any]], key: Callable[[], str]) -> Response:
        """A page of at most `limit` of the rows; one row more was asked for, to know whether there is a next."""
        more = len(rows) > self.limit
        return answer({"data": rows[: self.limit], "next_cursor": self._sign(key()) if more else None})


def _page(
    request: Request,
    caller: CallerOf,
    limit: Annotated[str | None, Query(description=f"1 to {MAX_PAGE}, default {DEFAULT_PAGE}")] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> Page:
    number = DEFAULT_PAGE
    if limit is not None:
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_PAGE):
            raise invalid_fields((FieldError("/limit", "invalid", f"must be a number from 1 to {MAX_PAGE}"),))
        number = int(limit)
    route: APIRoute = request.scope["route"]
    bound = f"{caller.organization_id} {route.path_format} {sorted(request.path_params.items())}".encode()
    key = wiring(request).store.installation.keyring.cursor

    def mac(after: str) -> bytes:
        return blake2b(bound + b"\0" + after.encode(), key=key, digest_size=12).digest()

    def sign(after: str) -> str:
        return base64.urlsafe_b64encode(mac(after) + after.encode()).decode().rstrip("=")

    if cursor is None:
        return Page(None, number, sign)
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
        after = raw[12:].decode()
    except (binascii.Error, ValueError):
        raw, after = b"", ""
    if not after or not compare_digest(raw[:12], mac(after)):
        raise Problem("invalid-cursor", "The cursor is not one of this list. Begin without a cursor.")
    return Page(after, number, sign)


PageOf = Annotated[Page, Depends(_page)]


# Answers


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer that no cache keeps."""
    return Response(orjson.dumps(value), status, {"cache-control": "no-store"}, media_type="application/json")


def nothing() -> Response:
    return Response(status_code=204, headers={"cache-control": "no-store"})


def problem_response(request: Request, problem: Problem) -> Response:
    fields = {name.decode(): value.decode() for name, value in messages.problem_headers(problem)}
    body = messages.problem_body(problem, request.scope["state"]["request_id"])
    return Response(body, problem.status, fields)
