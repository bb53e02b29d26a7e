"""What every route of the management API shares: strict bodies, the caller, cursors, problems and responses.

FastAPI's own body parsing is never used. `body_of(Model)` reads and strictly parses the bytes, then validates
them with the model and reports all field errors together. Handlers are plain `def`: they use the store, so
they run in a thread. The OpenAPI document is made from a handler's parameters (`body_of(Model)`) and return
type (`Answer[…]`).
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
    """A request body. It refuses unknown fields, converts no types, and repeats no value in an error."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def example(body: dict[str, Any]) -> ConfigDict:
    """Return a model configuration with this example. `$account` in it stands for an account's id."""
    return ConfigDict(json_schema_extra={"examples": [body]})


def conflict(when: str) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for a route that can respond with 409. `when` describes the conflict."""
    return {409: {"description": when}}


class Answer(Response, Generic[Told]):
    """A JSON response. Its type parameter is checked by mypy and becomes the schema in the OpenAPI document."""


class Listing(TypedDict, Generic[Told]):
    """One page of a list."""

    data: list[Told]
    next_cursor: str | None
    """The value of `cursor` for the next page. Null on the last page."""


class ApiRoute(APIRoute):
    """A route that turns problems into responses, and records refusals in the audit log before it responds."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        # Handlers return complete responses. FastAPI would try to validate the return type `Answer[…]`.
        super().__init__(path, endpoint, **given | {"response_model": None})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = _query_parameters(self.dependant)

        async def guarded(request: Request) -> Response:
            try:
                _refuse_unknown_parameters(request, known)
                response = await handle(request)
                return _with_headers(response, request)
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
                return _with_headers(problem_response(request, problem), request)

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


def _with_headers(response: Response, request: Request) -> Response:
    """Add the headers about the presented credential: a newer secret that replaces it, and its remaining rate limit."""
    for name, value in getattr(request.state, "told", ()):
        response.headers[name.decode()] = value.decode()
    return response


def _refuse_unknown_parameters(request: Request, known: set[str]) -> None:
    """Refuse unknown query parameters. If a filter were ignored, the client would misread the response."""
    if messages.carries_query_credential(request.scope["query_string"]):
        raise messages.conflicting()
    errors = [
        FieldError(
            f"/{messages.escape(name)}",
            "unknown-field",
            f"is not a parameter of this query; it takes {_list(known)}",
        )
        for name in request.query_params
        if name not in known
    ]
    names = [name for name, _ in request.query_params.multi_items()]
    errors += [
        FieldError(f"/{messages.escape(name)}", "repeated", "appears more than once in this query")
        for name in sorted(known)
        if names.count(name) > 1
    ]
    if errors:
        raise invalid_fields(tuple(errors))


def _query_parameters(dependant: Dependant) -> set[str]:
    """Return the query parameters that a handler and its dependencies take."""
    names = {param.alias for param in dependant.query_params}
    return names.union(*(_query_parameters(each) for each in dependant.dependencies))


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _caller(
    request: Request,
    organization: Annotated[
        str | None,
        Query(
            description="Act in this organization instead of the credential's own. Operator "
            "admins can act in any organization."
        ),
    ] = None,
) -> Caller:
    """Return the caller, judged by the same verdict as every other use of a credential.

    Raises 401, 403 or 404.
    """
    caller = _identified(request, about_itself=False)
    if organization is not None:
        caller = enter(request, caller, organization)
    return caller


def _anyone(request: Request) -> Caller:
    """Return the caller of an endpoint that accesses no resource.

    Limits to projects and resources do not apply.
    """
    return _identified(request, about_itself=True)


def enter(request: Request, caller: Caller, organization_id: str) -> Caller:
    """Return the caller, acting in this organization. Raises 404 if the caller may not act there."""
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
        raise messages.unauthorized("missing")  # another site's page sent the request
    agent = messages.header(headers, b"user-agent") or b""
    caller = caller_of(verdict, origin.address, messages.printable(agent), scope["state"]["request_id"])
    request.state.caller = caller
    request.state.told = [*superseded(standing), *verdict_response.rate_limit_fields(permit)]
    return caller


CallerOf = Annotated[Caller, Depends(_caller)]
AnyoneOf = Annotated[Caller, Depends(_anyone)]


@dataclass(frozen=True, slots=True)
class BodyOf(Generic[Model]):
    """A dependency that parses the body as `model`. Raises Problems with a pointer for each invalid field."""

    model: type[Model]

    async def __call__(self, request: Request) -> Model:
        if not messages.is_json(request.scope["headers"]):
            raise Problem("unsupported-media-type", "Send the body as application/json.")
        body = request.state.body = await request.body()
        # Parsing a large body on the event loop would delay verification.
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
    """Convert a pydantic error to a field error. The value that was sent is not repeated."""
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
    """The requested page of a list: at most `limit` rows after `after`."""

    after: str | None
    limit: int
    _sign: Callable[[str], str]

    def answer(
        self, found: Sequence[T], tell: Callable[[T], Told], key: Callable[[T], str]
    ) -> Answer[Listing[Told]]:
        """Return a page with at most `limit` rows of `found`.

        An extra row in `found` means that there is a next page.
        """
        rows = found[: self.limit]
        after = self._sign(key(rows[-1])) if len(found) > self.limit else None
        return answer({"data": [tell(each) for each in rows], "next_cursor": after})


def _page(
    request: Request,
    caller: CallerOf,
    limit: Annotated[
        str | None,
        Query(description="The maximum number of rows per page."),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}),
    ] = None,
    cursor: Annotated[
        str | None, Query(description="The `next_cursor` of the previous page. Omit it for the first page.")
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
        raise Problem("invalid-cursor", "The cursor does not belong to this list. Start without a cursor.")
    return Page(after, number, sign)


PageOf = Annotated[Page, Depends(_page)]


# Responses

Resource = Callable[[Tx, Caller], Told]
"""The JSON of one resource as GET shows it, read in a transaction. `If-Match` is compared with its entity tag."""


def resource(tell: Callable[[T], Told], work: Callable[..., T], *args: Any) -> Resource[Told]:
    """Return a reader that applies `tell` to the result of `work(tx, caller, *args)`."""
    return lambda tx, caller: tell(work(tx, caller, *args))


def show(request: Request, caller: Caller, shown: Resource[Told]) -> Answer[Told]:
    """Return the response with one resource and its entity tag."""
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
    """Run a write: call `work(tx, caller, *args)` through `execute`, and return the response that `tell`
    makes of the result.

    With `If-Match`, the write runs only if the header has the entity tag of the `current` resource, which is
    read in the same transaction. If there is no such resource, no tag matches. If a POST repeats an
    `Idempotency-Key`, the first response is repeated without its secret. A person in a browser must have
    entered the password recently, unless `confirmed` is false.
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
    """Run a write like `perform`, and return an empty response."""
    perform(request, caller, lambda _: {}, work, *args, current=current, confirmed=confirmed)
    return Response(status_code=204, headers={"cache-control": "no-store"})


def _once(request: Request, status: int) -> IdempotentRequest | None:
    """Return the `Idempotency-Key` of a POST with its request, or None without the header.

    Raises invalid-request.
    """
    keys = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not keys or request.method != "POST":
        return None
    if len(keys) > 1:
        raise Problem("invalid-request", "Send only one Idempotency-Key header.")
    if not 1 <= len(keys[0]) <= 255 or not keys[0].isascii():
        raise Problem("invalid-request", "An Idempotency-Key must have 1 to 255 ASCII characters.")
    body: bytes = getattr(request.state, "body", b"")
    asked = f"{request.method} {request.url.path}?{request.url.query}\0".encode() + body
    return IdempotentRequest(keys[0].decode(), asked, status)


def _unchanged(request: Request, current: Resource[Mapping[str, Any]] | None) -> Unchanged | None:
    """Return the condition of `If-Match`: one of its tags matches the current resource.

    None without the header.
    """
    wanted = _tags(request)
    if not wanted:
        return None

    def unchanged(tx: Tx, caller: Caller) -> bool:
        return current is not None and not wanted.isdisjoint({"*", etag(current(tx, caller))})

    return unchanged


def _tags(request: Request) -> set[str]:
    """Return the entity tags of all `If-Match` headers. Empty without the header."""
    return {
        tag.strip().removeprefix("W/")
        for name, value in request.scope["headers"]
        if name == b"if-match"
        for tag in value.decode("latin-1").split(",")
    }


VOLATILE = frozenset({"last_used_at", "credentials", "secret"})
"""Fields that change on their own. They do not count as a new version of the resource."""


def etag(value: Mapping[str, Any]) -> str:
    """Return the entity tag of a resource's JSON."""
    lasting = {name: member for name, member in value.items() if name not in VOLATILE}
    return f'"{blake2b(orjson.dumps(lasting, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()}"'


def answer_all(rows: list[Told]) -> Answer[Listing[Told]]:
    """Return a list that always fits on one page."""
    return answer({"data": rows, "next_cursor": None})


def answer(value: Told, status: int = 200) -> Answer[Told]:
    """Return a JSON response that must not be cached."""
    return Answer(orjson.dumps(value), status, {"cache-control": "no-store"}, media_type="application/json")
