"""Text of the OpenAPI document that belongs to no single route: tags, parameters, problems, endpoints without routes.

A route of the management API has its own text: docstring, models, `responses=`.
"""

from typing import Annotated, Any, Final

from pydantic import Field

from ostiary.api.route import StrictModel, example
from ostiary.core.problem import Problem, invalid, not_found
from ostiary.http import messages, verdict_response
from ostiary.http.verify import MAX_SCOPES

ABOUT: Final = """\
Ostiary issues, verifies and watches over machine credentials.

A credential is read from one of `X-API-Key`, `API-Key`, `Authorization: ApiKey …` or `Authorization: Bearer …`. The
organization is that of the credential: what belongs to another one is not found. Bodies are JSON, up to 64 KiB; members
and query parameters that an address does not know are refused. Times are RFC 3339. Whoever presents a secret that a
rotation has replaced reads `X-Credential-Superseded: until=…` with each answer.

Errors are `application/problem+json` (RFC 9457): decide by `code`. Besides what is listed with each operation, any
address may answer 405 to another method, 408 to a body that does not arrive, 413, 414 and 431 to what is too large,
415 to a content encoding, and 500 to a fault of ours."""

TAGS: Final = {
    "Verification": "Is this credential good, here and for this? Asked by resource servers and by proxies.",
    "Organizations": "Tenants and their limits. An admin of the operator's organization reaches every one.",
    "Projects": "Parts of an organization to which access can be given.",
    "Members": "Users in an organization, and invitations to become one.",
    "Roles": "Names for sets of scopes, and the catalogue of scopes.",
    "Service accounts": "Principals that are no people: each has its roles and its credentials.",
    "Credentials": "API keys: those of service accounts, and direct keys of users.",
    "Import": "Keys of other systems, of which only the SHA-256 is known here.",
    "Sessions": "What a login with a key file begins. It ends with that key, or by itself after some days.",
    "Clients": "Applications that ask people for access, and what people let them do.",
    "OAuth": "Access tokens: how a program gets one, asks about it, ends it. Bodies are forms, or JSON objects of texts; "
    "members that are not known are passed over. Errors are OAuth's own (RFC 6749 §5.2).",
    "Access rules": "What a request behind a proxy needs. They belong to the operator's organization.",
    "Agents": "What is behind gateways.",
    "Audit": "What happened, who did it, and to what.",
    "Usage": "How often credentials were accepted and refused.",
    "Health": "Whether the process lives, and whether it can do its work. No credential is taken.",
}

PATH: Final = {
    # Path parameters by name, with their description.
    "organization_id": "The organization's id.",
    "project": "The project's id or code.",
    "member": "The user's id.",
    "invitation": "The invitation's id.",
    "role": "The role's id or name.",
    "scope": "The scope, as `verb:noun`.",
    "account": "The service account's id, client id or channel identifier.",
    "credential": "The credential's id.",
    "session": "The session's id.",
    "client": "The client's id.",
    "grant": "The consent's id.",
    "prefix": "How the keys begin.",
    "name": "The rule's name: lower-case letters, digits and hyphens, no hyphen first.",
    "rule": "The name of an access rule, or `-`, which asks for a valid credential and nothing more.",
    "path": "The path that is judged: everything below the rule, slashes included.",
}

SECURITY: Final[dict[str, dict[str, str]]] = {
    "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "API-Key": {"type": "apiKey", "in": "header", "name": "API-Key"},
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Authorization: ApiKey …`",
    },
    "Bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer …`"},
}

PROBLEMS: Final[dict[int, tuple[str, str, Problem]]] = {
    # status: the name of the response, its description, an example
    400: (
        "InvalidRequest",
        "The request is not understood: different credentials at once, a body that is not JSON, a foreign cursor.",
        messages.conflicting(),
    ),
    401: (
        "InvalidCredential",
        "No credential was sent, or it is not valid, for whatever cause.",
        messages.unauthorized("expired"),
    ),
    403: (
        "Forbidden",
        "The credential is good, but not for this.",
        Problem(
            "insufficient-permissions",
            "This needs the scope write:projects, which the presented credential does not have.",
            members={"scope": "write:projects"},
        ),
    ),
    404: ("NotFound", "There is no such thing in this organization.", not_found("project")),
    412: (
        "PreconditionFailed",
        "It has changed since it was read: its tag is none of `If-Match`.",
        Problem("precondition-failed", "It has changed since it was read. Read it again, then decide again."),
    ),
    413: (
        "ContentTooLarge",
        "The body is larger than 64 KiB; at import, than 2 MiB.",
        Problem("content-too-large", "The body is larger than 64 KiB."),
    ),
    415: (
        "UnsupportedMediaType",
        "The body is not declared as `application/json`, or has a content encoding.",
        Problem("unsupported-media-type", "Send the body as application/json."),
    ),
    422: (
        "ValidationFailed",
        "Members or query parameters are wrong: `errors` lists every one.",
        invalid("/limit", "invalid", "must be a number from 1 to 200"),
    ),
    503: (
        "Unavailable",
        "The database or the audit log cannot be reached; nothing was changed.",
        Problem("unavailable", "The database does not answer. Try again."),
    ),
    507: (
        "StorageFull",
        "The disk is full; nothing was changed.",
        Problem("storage-full", "The disk is full. Nothing was changed."),
    ),
}

HEADERS: Final = {
    "ETag": ("The version of what is told, for `If-Match`.", '"7c3f0d9d3a2b4a5c6e1f8a90"'),
    "X-Request-Id": (
        "The request's id, which the log and the audit log name too. Verification has none.",
        "req_01m80nsk5mf8r3dzb9bn0cpmfp",
    ),
    "Idempotency-Replayed": ("`true` where this is the first answer again.", "true"),
    "WWW-Authenticate": ("The challenge (RFC 6750).", 'Bearer error="invalid_token"'),
    "Retry-After": ("Seconds after which it may be tried again.", "1"),
    "X-Auth-Subject": ("The principal's id.", "sa_01m80nsjwczvk7q6yqhqx16kw5"),
    "X-Auth-Kind": ("The kind of the credential.", "api_key"),
    "X-Auth-Organization": ("The organization's id.", "org_01m80nmxxf7e37xdvw967580rx"),
    "X-Auth-Credential": ("The credential's id.", "cred_01m80nttv0ccn4z5rxx2f4qk0k"),
    "X-Auth-Scopes": ("All that it may use, separated by spaces.", "read:agents"),
    "X-Auth-Assertion": (
        "Where the rule has `assertion`: a signed token that says who calls. Else empty.",
        "",
    ),
    "X-Auth-Error": ("Why it is refused.", "insufficient_scope"),
}
IDENTITY: Final = tuple(name for name in HEADERS if name.startswith("X-Auth-") and name != "X-Auth-Error")


class VerifyBody(StrictModel):
    """What is asked about a credential. Null is the same as leaving it out."""

    model_config = example(
        {
            "credential": "$secret",
            "ip": "203.0.113.7",
            "scopes": ["read:agents"],
            "resource": "agents/agent_1",
        }
    )

    credential: Annotated[str, Field(description="What your API was shown, as it is.")]
    ip: Annotated[
        str | None,
        Field(
            description="The address of your client. Without it, a credential with an allow-list is refused."
        ),
    ] = None
    scopes: Annotated[
        list[str] | None, Field(max_length=MAX_SCOPES, description="What the request needs, all of it.")
    ] = None
    project: Annotated[
        str | None, Field(description="Id or code of a project of the credential's organization.")
    ] = None
    resource: Annotated[
        str | None, Field(description="What the request is about, such as `agents/agent_1`.")
    ] = None
    audience: Annotated[
        str | None,
        Field(
            description="For whom a token must be meant: without it, this service. API keys are for anybody."
        ),
    ] = None
    count: Annotated[bool | None, Field(description="`false` asks without counting a use.")] = True


def _forwarded(method: str, target: str) -> list[dict[str, Any]]:
    trusted = "From a trusted proxy, unless the rule is `-`"
    return [
        _header(method, f"{trusted}: the method of the request that is judged.", "GET"),
        _header(target, f"{trusted}: its path and query.", "/v1/agents/agent_1"),
    ]


def _header(name: str, description: str, value: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema, "example": value}


REFUSALS: Final = {
    # The responses of `/v1/authorize`: a description, an example.
    400: (
        "The request cannot be judged: `X-Auth-Error` says why.",
        Problem("invalid-request", verdict_response.ADVICE["not_described"]),
    ),
    401: ("No credential, or not a valid one.", messages.unauthorized("invalid")),
    403: (
        "The credential is not good for this request: `X-Auth-Error` says why.",
        Problem(
            "insufficient-permissions",
            verdict_response.ADVICE["insufficient_scope"],
            members={"error": "insufficient_scope", "scope": "write:agents"},
        ),
    ),
}
_ANY_METHOD = "Any method is taken, and answered alike."

HOT: Final[tuple[dict[str, Any], ...]] = (
    # Endpoints without routes: method, path, text, request, response, problems.
    {
        "method": "post",
        "path": "/v1/verify",
        "tag": "Verification",
        "id": "verify",
        "doc": "Ask whether a credential is good, here and for this.\n\n"
        "The status is 200 whenever the question was answered; any other is about the question or the asking key. Needs "
        "`verify:credentials`. Only the operator's keys get an answer about another organization's credential; others "
        "read `unknown`.",
        "body": VerifyBody,
        "told": verdict_response.VerdictJson,
        "problems": (400, 401, 403, 413, 415, 422, 503),
    },
    {
        "method": "get",
        "path": "/v1/capabilities",
        "tag": "Verification",
        "id": "capabilities",
        "doc": "Show who the presented credential is and what it may do.\n\nAny valid credential may ask.",
        "told": verdict_response.CapabilitiesJson,
        "problems": (400, 401, 403, 503),
    },
    {
        "method": "get",
        "path": "/v1/authorize/{rule}",
        "tag": "Verification",
        "id": "authorize",
        "doc": "Judge a request that a proxy describes in `X-Forwarded-*`.\n\n"
        f"A good credential is 200 with `X-Auth-*`, every one set. {_ANY_METHOD}",
        "parameters": _forwarded("X-Forwarded-Method", "X-Forwarded-Uri"),
        "headers": IDENTITY,
        "problems": (400, 401, 403, 503),
        "refusals": REFUSALS,
    },
    {
        "method": "get",
        "path": "/v1/authorize/{rule}/{path}",
        "tag": "Verification",
        "id": "authorize_path",
        "doc": "Judge this request by its own method, and its own path below the rule.\n\n"
        f"A good credential is 200 with `X-Auth-*`, every one set. {_ANY_METHOD}",
        "headers": IDENTITY,
        "problems": (400, 401, 403, 503),
        "refusals": REFUSALS,
    },
    {
        "method": "get",
        "path": "/v1/authorize-nginx/{rule}",
        "tag": "Verification",
        "id": "authorize_nginx",
        "doc": "Judge a request that nginx describes in `X-Original-*`, for `auth_request`.\n\n"
        f"200, 401 or 403 and nothing else, none with a body. {_ANY_METHOD}",
        "parameters": _forwarded("X-Original-Method", "X-Original-URI"),
        "headers": IDENTITY,
        "empty": {401: "No credential, or not a valid one.", 403: "Refused: `X-Auth-Error` says why."},
    },
    {
        "method": "get",
        "path": "/healthz",
        "tag": "Health",
        "id": "healthz",
        "doc": "Whether the process lives.",
        "schema": {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]},
        "open": True,
        "marked": True,
    },
    {
        "method": "get",
        "path": "/readyz",
        "tag": "Health",
        "id": "readyz",
        "doc": "Whether it can do its work.\n\n"
        "The database answers, is initialised, and its clock is within a second of ours.",
        "schema": {"type": "object", "properties": {"status": {"const": "ready"}}, "required": ["status"]},
        "open": True,
        "marked": True,
        "not_ready": True,
    },
)
