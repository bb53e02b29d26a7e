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

A credential is read from one of `X-API-Key`, `API-Key`, `Authorization: ApiKey …` or `Authorization: Bearer …`. A
request acts in the organization of the credential. Objects of other organizations are not found. Bodies are JSON, up to
64 KiB. Unknown fields and query parameters are refused. Times are RFC 3339. If a rotation has replaced the presented
secret, each response has the header `X-Credential-Superseded: until=…`.

Errors are `application/problem+json` (RFC 9457). Use `code` to handle them. In addition to the responses of each
operation, every endpoint can return 405 for another method, 408 for an incomplete body, 413, 414 and 431 for a request
that is too large, 415 for a content encoding, and 500 for a server error."""

TAGS: Final = {
    "Verification": "Check whether a credential is valid for a request. For resource servers and proxies.",
    "Organizations": "Tenants and their limits. An admin of the operator's organization can access every organization.",
    "Projects": "Parts of an organization to which access can be given.",
    "Members": "Users in an organization, and invitations to join it.",
    "Roles": "Names for sets of scopes, and the catalogue of scopes.",
    "Service accounts": "Principals for machines. Each has its own roles and credentials.",
    "Credentials": "API keys, client secrets and key files of service accounts, and direct keys of users.",
    "Import": "Keys of other systems. The service stores only their SHA-256.",
    "Sessions": "A login with a key file starts a session. It ends with the key file, or when it expires.",
    "Clients": "Applications that ask people for access, and the consents that people gave.",
    "OAuth": "Get, introspect and revoke access tokens. Bodies are forms, or JSON objects of strings. "
    "Unknown parameters are ignored. Errors have the form of RFC 6749 §5.2.",
    "Access rules": "The scopes that requests behind a proxy need. The rules belong to the operator's organization.",
    "Agents": "Agents and servers behind gateways.",
    "Audit": "What happened, who did it, and to which object.",
    "Usage": "How often credentials were accepted and refused.",
    "Health": "Whether the process is running, and whether it is ready. No credential is needed.",
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
    "prefix": "The prefix of the keys.",
    "name": "The rule's name: lower-case letters, digits and hyphens; it cannot start with a hyphen.",
    "rule": "The name of an access rule, or `-`, which requires only a valid credential.",
    "path": "The path to check: everything after the rule, including slashes.",
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
        "The request is malformed, for example: different credentials, a body that is not JSON, or an invalid cursor.",
        messages.conflicting(),
    ),
    401: (
        "InvalidCredential",
        "No credential was sent, or the credential is not valid. The reason is not given.",
        messages.unauthorized("expired"),
    ),
    403: (
        "Forbidden",
        "The credential is valid, but does not allow this request.",
        Problem(
            "insufficient-permissions",
            "This needs the scope write:projects, which the presented credential does not have.",
            members={"scope": "write:projects"},
        ),
    ),
    404: ("NotFound", "The organization has no such object.", not_found("project")),
    412: (
        "PreconditionFailed",
        "The object has changed since it was read: its tag is not in `If-Match`.",
        Problem("precondition-failed", "It has changed since it was read. Read it again, then decide again."),
    ),
    413: (
        "ContentTooLarge",
        "The body is larger than 64 KiB, or 2 MiB for an import.",
        Problem("content-too-large", "The body is larger than 64 KiB."),
    ),
    415: (
        "UnsupportedMediaType",
        "The body is not declared as `application/json`, or has a content encoding.",
        Problem("unsupported-media-type", "Send the body as application/json."),
    ),
    422: (
        "ValidationFailed",
        "Fields or query parameters are invalid: `errors` lists them all.",
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
    "ETag": ("The version of the object, for `If-Match`.", '"7c3f0d9d3a2b4a5c6e1f8a90"'),
    "X-Request-Id": (
        "The request's id, which is also in the log and the audit log. Not set for verification.",
        "req_01m80nsk5mf8r3dzb9bn0cpmfp",
    ),
    "Idempotency-Replayed": ("`true` if this repeats the first response.", "true"),
    "WWW-Authenticate": ("The challenge (RFC 6750).", 'Bearer error="invalid_token"'),
    "Retry-After": ("Seconds to wait before the next attempt.", "1"),
    "X-Auth-Subject": ("The principal's id.", "sa_01m80nsjwczvk7q6yqhqx16kw5"),
    "X-Auth-Kind": ("The kind of the credential.", "api_key"),
    "X-Auth-Organization": ("The organization's id.", "org_01m80nmxxf7e37xdvw967580rx"),
    "X-Auth-Credential": ("The credential's id.", "cred_01m80nttv0ccn4z5rxx2f4qk0k"),
    "X-Auth-Scopes": ("All scopes that it can use, separated by spaces.", "read:agents"),
    "X-Auth-Assertion": (
        "If the rule has `assertion`: a signed token that identifies the caller. Otherwise empty.",
        "",
    ),
    "X-Auth-Error": ("Why the request is refused.", "insufficient_scope"),
}
IDENTITY: Final = tuple(name for name in HEADERS if name.startswith("X-Auth-") and name != "X-Auth-Error")


class VerifyBody(StrictModel):
    """The credential to verify, and the request that it came with. Null means omitted."""

    model_config = example(
        {
            "credential": "$secret",
            "ip": "203.0.113.7",
            "scopes": ["read:agents"],
            "resource": "agents/agent_1",
        }
    )

    credential: Annotated[str, Field(description="The credential that your API received, unchanged.")]
    ip: Annotated[
        str | None,
        Field(
            description="The IP address of your client. If omitted, a credential with an allowlist is refused."
        ),
    ] = None
    scopes: Annotated[
        list[str] | None,
        Field(max_length=MAX_SCOPES, description="The scopes that the request needs. All are required."),
    ] = None
    project: Annotated[
        str | None, Field(description="Id or code of a project of the credential's organization.")
    ] = None
    resource: Annotated[
        str | None, Field(description="The resource that the request is about, such as `agents/agent_1`.")
    ] = None
    audience: Annotated[
        str | None,
        Field(
            description="The audience that a token must have. If omitted, this service. API keys have no audience."
        ),
    ] = None
    count: Annotated[bool | None, Field(description="`false` verifies without counting a use.")] = True


def _forwarded(method: str, target: str) -> list[dict[str, Any]]:
    trusted = "From a trusted proxy, unless the rule is `-`"
    return [
        _header(method, f"{trusted}: the method of the request to check.", "GET"),
        _header(target, f"{trusted}: its path and query.", "/v1/agents/agent_1"),
    ]


def _header(name: str, description: str, value: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema, "example": value}


REFUSALS: Final = {
    # The responses of `/v1/authorize`: a description, an example.
    400: (
        "The request cannot be checked: `X-Auth-Error` says why.",
        Problem("invalid-request", verdict_response.ADVICE["not_described"]),
    ),
    401: ("No credential, or an invalid one.", messages.unauthorized("invalid")),
    403: (
        "The credential does not allow this request: `X-Auth-Error` says why.",
        Problem(
            "insufficient-permissions",
            verdict_response.ADVICE["insufficient_scope"],
            members={"error": "insufficient_scope", "scope": "write:agents"},
        ),
    ),
}
_ANY_METHOD = "All methods are accepted and behave the same."

HOT: Final[tuple[dict[str, Any], ...]] = (
    # Endpoints without routes: method, path, text, request, response, problems.
    {
        "method": "post",
        "path": "/v1/verify",
        "tag": "Verification",
        "id": "verify",
        "doc": "Verify a credential for a request.\n\n"
        "The status is 200 for every verdict. Other statuses are about the request itself or the caller's key. Needs "
        "`verify:credentials`. Only the operator's keys can verify another organization's credentials. For others "
        "the verdict is `unknown`.",
        "body": VerifyBody,
        "told": verdict_response.VerdictJson,
        "problems": (400, 401, 403, 413, 415, 422, 503),
    },
    {
        "method": "get",
        "path": "/v1/capabilities",
        "tag": "Verification",
        "id": "capabilities",
        "doc": "Show who the presented credential is and what it may do.\n\nAny valid credential can call this.",
        "told": verdict_response.CapabilitiesJson,
        "problems": (400, 401, 403, 503),
    },
    {
        "method": "get",
        "path": "/v1/authorize/{rule}",
        "tag": "Verification",
        "id": "authorize",
        "doc": "Check a request that a proxy describes in `X-Forwarded-*`.\n\n"
        f"A valid credential gets 200, with all `X-Auth-*` headers set. {_ANY_METHOD}",
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
        "doc": "Check this request by its own method, and its own path after the rule.\n\n"
        f"A valid credential gets 200, with all `X-Auth-*` headers set. {_ANY_METHOD}",
        "headers": IDENTITY,
        "problems": (400, 401, 403, 503),
        "refusals": REFUSALS,
    },
    {
        "method": "get",
        "path": "/v1/authorize-nginx/{rule}",
        "tag": "Verification",
        "id": "authorize_nginx",
        "doc": "Check a request that nginx describes in `X-Original-*`, for `auth_request`.\n\n"
        f"The status is always 200, 401 or 403, without a body. {_ANY_METHOD}",
        "parameters": _forwarded("X-Original-Method", "X-Original-URI"),
        "headers": IDENTITY,
        "empty": {401: "No credential, or an invalid one.", 403: "Refused: `X-Auth-Error` says why."},
    },
    {
        "method": "get",
        "path": "/healthz",
        "tag": "Health",
        "id": "healthz",
        "doc": "Check whether the process is running.",
        "schema": {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]},
        "open": True,
        "marked": True,
    },
    {
        "method": "get",
        "path": "/readyz",
        "tag": "Health",
        "id": "readyz",
        "doc": "Check whether the service is ready.\n\n"
        "The service is ready if the database responds and is initialised, and its clock is within a second of ours.",
        "schema": {"type": "object", "properties": {"status": {"const": "ready"}}, "required": ["status"]},
        "open": True,
        "marked": True,
        "not_ready": True,
    },
)
