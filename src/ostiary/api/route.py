"""What every route of the management API shares: strict bodies, the caller, cursors, problems, the answer.

FastAPI's own body parsing is never used: `body_of(Model)` reads the bytes, parses them strictly, then validates
with the model, all field errors at once. Handlers are plain `def`: they touch the store, so they run in a thread.
What a handler takes (`body_of(Model)`) and returns (`Answer[…]`) is what the OpenAPI document says of it.
"""

import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Annotated, Any, Generic, TypeVar, cast

import orjson
import structlog
from fastapi import Depends, Query
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from ostiary.auth.access_request import AccessRequest
from ostiary.auth.caller import caller_of
from ostiary.core.permission import Caller
from ostiary.core.problem import FieldError, Problem, invalid_fields
from ostiary.http import cookies, messages, verdict_response
from ostiary.http.routing import problem_response, wiring
from ostiary.http.verdict_response import superseded
from ostiary.services import organizations
from ostiary.services.execute import Unchanged, execute, execute_once, record_refusal
from ostiary.services.idempotency import IdempotentRequest
from ostiary.storage.store import Tx

Model = TypeVar("Model", bound=BaseModel)
Told = TypeVar("Told", bound=Mapping[str, Any])
T = TypeVar("T")

MAX_PAGE = 200
DEFAULT_PAGE = 50


class StrictModel(BaseModel):
    """A request body: nothing unknown, nothing coerced, no value repeated in an error."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def example(body: dict[str, Any]) -> ConfigDict:
    """The configuration of a model of which this is an example; `$account` in it stands for an account's id."""
    return ConfigDict(json_schema_extra={"examples": [body]})


def conflict(when: str) -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a route: when it answers 409."""
    return {409: {"description": when}}


class Answer(Response, Generic[Told]):
    """A JSON answer of this shape: mypy checks what is told, and the OpenAPI document is made from it."""


class Listing(TypedDict, Generic[Told]):
    """A page of a list."""

    data: list[Told]
    next_cursor: str | None
    """What `cursor` has to be for the next page; null on the last one."""


class ApiRoute(APIRoute):
    """Turns problems into answers, and puts refusals into the audit log before the answer leaves."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        # A handler's answer is whole: FastAPI would take `Answer[…]` for something to validate.
        super().__init__(path, endpoint, **given | {"response_model": None})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = _query_members(self.dependant)

        async def guarded(request: Request) -> Response:
            try:
                _refuse_unknown_members(request, known)
                response = await handle(request)
                return _with_fields(response, request)
            except Problem as problem:
                caller = getattr(request.state, "caller", None)
                if caller is not None and problem.status in (403, 404, 409):
                    try:
                        await run_in_threadpool(self._record, request, caller, problem)
                    except Problem as instead:
                        problem = instead
                if problem.status >= 500:
                    structlog.get_logger().warning(
                        "refused",
                        code=problem.code,
                        reason=problem.reason,
                        request_id=request.scope["state"]["request_id"],
                    )
                return _with_fields(problem_response(request, problem), request)

        return guarded

    def _record(self, request: Request, caller: Caller, problem: Problem) -> None:
        record_refusal(
            wiring(request).store,
            caller,
            request.method,
            self.path_format,
            problem.status,
            problem.code,
            problem.reason or problem.code,
        )


def _with_fields(response: Response, request: Request) -> Response:
    """With what every answer tells of the presented credential: another one in its place, what is left of its limit."""
    for name, value in getattr(request.state, "told", ()):
        response.headers[name.decode()] = value.decode()
    return response


def _refuse_unknown_members(request: Request, known: set[str]) -> None:
    """A filter that is not one would be ignored, and the answer misread."""
    if messages.carries_query_credential(request.scope["query_string"]):
        raise messages.conflicting()
    errors = [
        FieldError(
            f"/{messages.escape(name)}",
            "unknown-field",
            f"is no member of this query; it takes {_list(known)}",
        )
        for name in request.query_params
        if name not in known
    ]
    names = [name for name, _ in request.query_params.multi_items()]
    errors += [
        FieldError(f"/{messages.escape(name)}", "repeated", "stands more than once in this query")
        for name in sorted(known)
        if names.count(name) > 1
    ]
    if errors:
        raise invalid_fields(tuple(errors))


def _query_members(dependant: Dependant) -> set[str]:
    """Every query parameter that a handler or what it depends on takes."""
    names = {param.alias for param in dependant.query_params}
    return names.union(*(_query_members(each) for each in dependant.dependencies))


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _caller(
    request: Request,
    organization: Annotated[
        str | None,
        Query(
            description="Act in this organization instead of the credential's own. "
            "A holder of the role operator-admin may, in any."
        ),
    ] = None,
) -> Caller:
    """Who calls: judged by the same verdict as every other use of a credential. Raises 401, 403, 404."""
    caller = _identified(request, about_itself=False)
    if organization is not None:
        caller = enter(request, caller, organization)
    return caller


def _anyone(request: Request) -> Caller:
    """Who calls, where nothing is touched: whatever its limits to projects and resources."""
    return _identified(request, about_itself=True)


def enter(request: Request, caller: Caller, organization_id: str) -> Caller:
    """The caller as it acts in this organization; 404 if it may not."""
    entered = wiring(request).store.read(organizations.enter, caller, organization_id)
    request.state.caller = entered
    return entered


def _identified(request: Request, about_itself: bool) -> Caller:
    scope = request.scope
    authenticator, cookie = wiring(request).authenticator, wiring(request).cookie
    headers = scope["headers"]
    origin = scope["state"]["origin"]
    given = messages.presented(headers, cookie)
    lookup = authenticator.from_database()
    text = messages.required(given)
    asked = AccessRequest(origin.address, about_itself=about_itself)
    verdict, permit = authenticator.use(text, asked, origin.text, "api", lookup)
    standing = verdict.standing
    if standing is None or not verdict.valid:
        raise verdict_response.refusal(verdict, permit)
    in_browser = given.by_cookie and standing.kind == "session"
    if in_browser and request.method not in cookies.SAFE and not cookies.of_our_page(headers, cookie):
        raise messages.unauthorized("missing")  # whoever's page made it, it is not the person's
    agent = messages.header(headers, b"user-agent") or b""
    caller = caller_of(verdict, origin.address, messages.printable(agent), scope["state"]["request_id"])
    request.state.caller = caller
    request.state.told = [*superseded(standing), *verdict_response.rate_limit_fields(permit)]
    return caller


CallerOf = Annotated[Caller, Depends(_caller)]
AnyoneOf = Annotated[Caller, Depends(_anyone)]


@dataclass(frozen=True, slots=True)
class BodyOf(Generic[Model]):
    """A dependency that reads the body as `model`. Raises Problems with a pointer for each wrong field."""

    model: type[Model]

    async def __call__(self, request: Request) -> Model:
        if not messages.is_json(request.scope["headers"]):
            raise Problem("unsupported-media-type", "Send the body as application/json.")
        body = request.state.body = await request.body()
        # A large one would keep verification waiting.
        return (
            self._parse(body)
            if len(body) <= messages.MAX_PLAIN
            else await run_in_threadpool(self._parse, body)
        )

    def _parse(self, body: bytes) -> Model:
        value = messages.read_json(body)
        messages.refuse_secrets(value)
        try:
            return self.model.model_validate(value)
        except ValidationError as error:
            errors = error.errors(include_url=False)[: messages.MAX_ERRORS]
            raise invalid_fields(tuple(field_error(each) for each in errors)) from None


def body_of(model: type[Model]) -> BodyOf[Model]:
    return BodyOf(model)


def field_error(error: Any) -> FieldError:
    """One of pydantic's errors in our words; the value that was sent is not repeated."""
    pointer = messages.pointer(error["loc"])
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

    def answer(
        self, found: Sequence[T], tell: Callable[[T], Told], key: Callable[[T], str]
    ) -> Answer[Listing[Told]]:
        """A page of at most `limit` of what was found; one more was asked for, to know whether there is a next."""
        rows = found[: self.limit]
        after = self._sign(key(rows[-1])) if len(found) > self.limit else None
        return answer({"data": [tell(each) for each in rows], "next_cursor": after})


def _page(
    request: Request,
    caller: CallerOf,
    limit: Annotated[
        str | None,
        Query(description="How many rows a page has at most."),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}),
    ] = None,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before. Leave it out for the first page.")
    ] = None,
) -> Page:
    number = DEFAULT_PAGE
    if limit is not None:
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MAX_PAGE):
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

Resource = Callable[[Tx, Caller], Told]
"""What GET shows of one resource, read in a transaction; `If-Match` compares its tag."""


def resource(tell: Callable[[T], Told], work: Callable[..., T], *args: Any) -> Resource[Told]:
    """What `tell` makes of `work(tx, caller, *args)`."""
    return lambda tx, caller: tell(work(tx, caller, *args))


def show(request: Request, caller: Caller, shown: Resource[Told]) -> Answer[Told]:
    """One resource, with its entity tag."""
    value = wiring(request).store.read(shown, caller)
    response = answer(value)
    response.headers["etag"] = etag(value)
    return response


def perform(
    request: Request,
    caller: Caller,
    tell: Callable[[T], Told],
    work: Callable[..., T],
    *args: Any,
    status: int = 200,
    current: Resource[Mapping[str, Any]] | None = None,
    confirmed: bool = True,
) -> Answer[Told]:
    """Write: `execute` `work(tx, caller, *args)`, and answer with what `tell` makes of it.

    With `If-Match`, only if the tag is that of what `current` reads in the same transaction; where there is
    nothing to read no tag fits. With an `Idempotency-Key` on POST, a repeat gets the first answer again, without
    its secret. A person in a browser has to have given the password lately, unless it need not be `confirmed`.
    """

    def act(tx: Tx, caller: Caller) -> Told:
        return tell(work(tx, caller, *args))

    store, unchanged, once = wiring(request).store, _unchanged(request, current), _once(request, status)
    if once is None:
        return answer(execute(store, caller, act, confirmed=confirmed, unchanged=unchanged), status)
    done = execute_once(store, caller, once, act, confirmed=confirmed, unchanged=unchanged)
    response = answer(cast("Told", done.body), done.status)
    if done.repeated:
        response.headers["idempotency-replayed"] = "true"
    return response


def remove(
    request: Request,
    caller: Caller,
    work: Callable[..., None],
    *args: Any,
    current: Resource[Mapping[str, Any]] | None = None,
    confirmed: bool = True,
) -> Response:
    """Write likewise, and answer with nothing."""
    perform(request, caller, lambda _: {}, work, *args, current=current, confirmed=confirmed)
    return Response(status_code=204, headers={"cache-control": "no-store"})


def _once(request: Request, status: int) -> IdempotentRequest | None:
    """The `Idempotency-Key` of a POST with its request; None without one. Raises invalid-request."""
    keys = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not keys or request.method != "POST":
        return None
    if len(keys) > 1:
        raise Problem("invalid-request", "A request has one Idempotency-Key.")
    if not 1 <= len(keys[0]) <= 255 or not keys[0].isascii():
        raise Problem("invalid-request", "An Idempotency-Key has 1 to 255 ASCII characters.")
    body: bytes = getattr(request.state, "body", b"")
    asked = f"{request.method} {request.url.path}?{request.url.query}\0".encode() + body
    return IdempotentRequest(keys[0].decode(), asked, status)


def _unchanged(request: Request, current: Resource[Mapping[str, Any]] | None) -> Unchanged | None:
    """The condition of `If-Match`: one of its tags is that of the current resource. None without the header."""
    wanted = _tags(request)
    if not wanted:
        return None

    def unchanged(tx: Tx, caller: Caller) -> bool:
        return current is not None and not wanted.isdisjoint({"*", etag(current(tx, caller))})

    return unchanged


def _tags(request: Request) -> set[str]:
    """The entity tags of `If-Match`, which may stand in several fields; empty without one."""
    return {
        tag.strip().removeprefix("W/")
        for name, value in request.scope["headers"]
        if name == b"if-match"
        for tag in value.decode("latin-1").split(",")
    }


VOLATILE = frozenset({"last_used_at", "credentials", "secret"})
"""Members that change by themselves, and do not make another version of what is told."""


def etag(value: Mapping[str, Any]) -> str:
    """The entity tag of a resource's JSON."""
    lasting = {name: member for name, member in value.items() if name not in VOLATILE}
    return f'"{blake2b(orjson.dumps(lasting, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()}"'


def answer_all(rows: list[Told]) -> Answer[Listing[Told]]:
    """A list that is one page always."""
    return answer({"data": rows, "next_cursor": None})


def answer(value: Told, status: int = 200) -> Answer[Told]:
    """A JSON answer that no cache keeps."""
    return Answer(orjson.dumps(value), status, {"cache-control": "no-store"}, media_type="application/json")
