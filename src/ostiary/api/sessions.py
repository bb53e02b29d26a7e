"""`/v1/sessions` and the endpoints that a partner's scripts use: login with a key file, and the owner of a session."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from ostiary.api.credential_forms import OwnerJson
from ostiary.api.forms import Time
from ostiary.api.route import (
    Answer,
    AnyoneOf,
    ApiRoute,
    CallerOf,
    Listing,
    PageOf,
    Resource,
    StrictModel,
    answer,
    body_of,
    example,
    perform,
    remove,
    resource,
    show,
)
from ostiary.auth.access_request import AccessRequest
from ostiary.auth.caller import caller_of
from ostiary.core.instant import SECOND, text_or_none, to_text
from ostiary.core.model import SessionKind
from ostiary.core.problem import Problem
from ostiary.core.verdict import Verdict
from ostiary.http import cookies, messages, verdict_response
from ostiary.http.routing import wiring
from ostiary.http.verdict_response import HomeOrganizationJson
from ostiary.services import sessions
from ostiary.services.execute import execute
from ostiary.services.sessions import CredentialOwner, NewSession, SessionListing
from ostiary.storage.journal import UsedMark

router = APIRouter(route_class=ApiRoute, tags=["Sessions"])

PARTNER_LOGIN: Final = "/identity/public/v1/api/login"
WHOAMI: Final = "/identity/v1/whoami"


class LoginBody(StrictModel):
    """A login with a key file."""

    model_config = example({"token": "$login", "default_project_code": "shop"})

    token: Annotated[
        str,
        Field(
            min_length=1,
            max_length=messages.MAX_TOKEN,
            description="A JWT that is signed with the file's key (RS256, or EdDSA for an "
            "Ed25519 key). `sub` is the file's `key_id`, `iat` is the current time "
            "(within 300 seconds), and `jti` is new each time. A JWT with `aud` is "
            "refused.",
        ),
    ]
    default_project_code: Annotated[
        str | None,
        Field(
            max_length=64,
            description="The default project, by code or id, for requests that name none. Empty "
            "or null: the organization.",
        ),
    ] = None


class SessionJson(TypedDict):
    """A session."""

    id: str
    kind: SessionKind
    """How the session began: `browser`, `key_file`, `device` or `application`."""
    owner: OwnerJson
    credential_id: str | None
    """The key file from which the session was started. The session ends with it. Null for other kinds of sessions."""
    client_id: str | None
    """The client that has the session, for sessions of a device or an application."""
    client_name: str | None
    """The client's name."""
    grant: str | None
    """The consent on which the session is based. The session ends with it. Null for other kinds of sessions."""
    scopes: list[str]
    """The scopes to which the session is limited. `api` means everything that its owner may do."""
    projects: list[str]
    """The ids of the projects to which the session is limited. Empty: all projects."""
    project: str | None
    """The id of the default project, for requests that name none."""
    status: Literal["active", "ended"]
    """Also `ended` while its credential or owner is not allowed to act."""
    address: str | None
    """The IP address from which the session was started."""
    user_agent: str
    created_at: Time
    last_used_at: Time | None
    expires_at: Time
    revoked_at: Time | None


class RevokedJson(TypedDict):
    """The number of sessions that were ended."""

    revoked: int


class LoginJson(TypedDict):
    """A new session and its token, which no other response contains."""

    session: SessionJson
    token: str
    """Send it as a bearer token. The cookie in the response contains the same token."""


class WhoseProjectJson(TypedDict):
    """A project."""

    id: str
    code: str
    name: str


class WhoamiJson(TypedDict):
    """The owner of the presented credential, token or session."""

    sub: str
    """The id of the service account or user: the `sub` of its tokens. It never changes and is never reused."""
    user_code: str
    """The same as `sub`."""
    type: Literal["service_account", "user"]
    username: str
    """Unique in the installation: a user's email, a service account's channel identifier."""
    email: str | None
    """The email of a user. Null for a service account."""
    channel_identifier: str | None
    """The channel identifier of a service account. Null for a user."""
    display_name: str
    """For people to read. It is not an identity."""
    organization: HomeOrganizationJson
    project: WhoseProjectJson | None
    """The default project, for requests that name none."""
    session: SessionJson | None
    """Null if the presented credential is not a session."""


def session_json(listed: SessionListing) -> SessionJson:
    session = listed.session
    return {
        "id": session.id,
        "kind": session.kind,
        "owner": {"type": session.owner_kind, "id": session.owner_id, "display_name": listed.owner_name},
        "credential_id": session.credential_id,
        "client_id": session.client_id,
        "client_name": listed.client_name,
        "grant": session.grant_id,
        "scopes": list(session.scopes),
        "projects": list(session.projects),
        "project": session.project_id,
        "status": "active" if session.live else "ended",
        "address": session.address,
        "user_agent": session.user_agent,
        "created_at": to_text(session.created_at),
        "last_used_at": text_or_none(session.last_used_at),
        "expires_at": to_text(session.expires_at),
        "revoked_at": text_or_none(session.revoked_at),
    }


def revoked_json(number: int) -> RevokedJson:
    return {"revoked": number}


def whoami_json(whose: CredentialOwner) -> WhoamiJson:
    account, project = whose.account, whose.project
    return {
        "sub": whose.id,
        "user_code": whose.id,
        "type": "user" if account is None else "service_account",
        "username": whose.channel_identifier or whose.name,
        "email": whose.name if account is None else None,
        "channel_identifier": whose.channel_identifier or None,
        "display_name": whose.name,
        "organization": {
            "id": whose.organization.id,
            "slug": whose.organization.slug,
            "name": whose.organization.name,
        },
        "project": None
        if project is None
        else {"id": project.id, "code": project.code, "name": project.name},
        "session": None if whose.session is None else session_json(whose.session),
    }


@router.post("/v1/sessions", status_code=201)
def create_session(
    request: Request, body: Annotated[LoginBody, Depends(body_of(LoginBody))]
) -> Answer[LoginJson]:
    """Log in with a key file.

    This starts a session. The session lasts as long as the policy `session_lifetime` says (30 days by
    default), but never longer than the key file. It has the access of the key file, and ends with it. The
    response also sets the session as a cookie. It needs no scope and no credential. Every failure gets the
    same 401.
    """
    return _begin(request, body, 201)


@router.post(PARTNER_LOGIN)
def log_in(request: Request, body: Annotated[LoginBody, Depends(body_of(LoginBody))]) -> Answer[LoginJson]:
    """Log in with a key file, at the path that a partner's scripts use.

    It behaves like `POST /v1/sessions`, with a different status code.
    """
    return _begin(request, body, 200)


@router.get(WHOAMI)
def whoami(request: Request, caller: AnyoneOf) -> Answer[WhoamiJson]:
    """Show the owner of the presented credential, token or session.

    Any valid credential can call this. An application can use it to learn who signed in.
    """
    return answer(whoami_json(wiring(request).store.read(sessions.whoami, caller)))


@router.get("/v1/sessions")
def list_sessions(request: Request, caller: CallerOf, page: PageOf) -> Answer[Listing[SessionJson]]:
    """List the active sessions, newest first.

    With `read:sessions`, the list has the organization's sessions. Without this scope, it has only your own.
    """
    found = wiring(request).store.read(sessions.list_page, caller, page.after, page.limit + 1)
    return page.answer(found, session_json, lambda each: each.session.id)


@router.get("/v1/sessions/{session}")
def get_session(request: Request, caller: CallerOf, session: str) -> Answer[SessionJson]:
    """Show a session, including one that has ended.

    Needs `read:sessions`, except for your own.
    """
    return show(request, caller, _session(session))


@router.delete("/v1/sessions/{session}", status_code=204)
def revoke_session(request: Request, caller: CallerOf, session: str) -> Response:
    """Revoke a session permanently.

    It is refused from then on. Revoking it again has no effect. Needs `write:sessions`, except for your own.
    If the owner is an organization admin, the caller needs every scope that the owner holds.
    """
    # Callers can always end their own session. For others' sessions the service checks more.
    return remove(request, caller, sessions.revoke, session, current=_session(session), confirmed=False)


@router.post("/v1/sessions/revoke-all")
def revoke_all_sessions(request: Request, caller: CallerOf) -> Answer[RevokedJson]:
    """Log out everywhere.

    This ends all sessions of the caller, of every kind and in every organization, including the presented
    session. It needs no scope, but the credential or token must have the full access of its owner.
    """
    return perform(request, caller, revoked_json, sessions.revoke_all, confirmed=False)


def _session(session: str) -> Resource[SessionJson]:
    return resource(session_json, sessions.get, session)


def _begin(request: Request, body: LoginBody, status: int) -> Answer[LoginJson]:
    store, authenticator = wiring(request).store, wiring(request).authenticator
    state, headers = request.scope["state"], request.scope["headers"]
    origin, now = state["origin"], authenticator.clock()
    asked = AccessRequest(origin.address, about_itself=True)
    verdict, checked, reason, _ = authenticator.key_files.judge(
        "login", body.token.encode(), asked, authenticator.from_database()
    )
    permit = None
    if verdict.valid:
        verdict, permit = authenticator.charge(verdict, now)
        request.state.told = verdict_response.rate_limit_fields(permit)
    if verdict.code == "rate_limited":
        authenticator.note(verdict, origin.text, "login", now)
        raise verdict_response.rate_limited(permit)
    if not verdict.valid or checked is None:
        authenticator.note(verdict, origin.text, "login", now, refused=reason)
        raise _refused(reason)
    agent = messages.printable(messages.header(headers, b"user-agent") or b"")
    caller = caller_of(verdict, origin.address, agent, state["request_id"])
    used = UsedMark(checked.jti_digest, checked.expires_at)
    try:
        begun: NewSession = execute(store, caller, sessions.begin, used, body.default_project_code or None)
    except Problem as problem:
        if problem.code != "invalid-credential":
            raise
        authenticator.note(
            Verdict("unknown", verdict.standing), origin.text, "login", now, refused=problem.reason or ""
        )
        raise _refused(problem.reason or "") from None
    authenticator.note(verdict, origin.text, "login", now)
    text = begun.secret.reveal()
    told: LoginJson = {"session": session_json(begun.listed), "token": text}
    response: Answer[LoginJson] = answer(told, status)
    session = begun.listed.session
    seconds = (session.expires_at - session.created_at) // SECOND
    response.headers["set-cookie"] = cookies.setting(wiring(request).cookie.name, text, seconds, "Strict")
    return response


def _refused(reason: str) -> Problem:
    """Return the same problem for every refused login. Only the audit log has the reason."""
    return Problem(
        "invalid-credential",
        "The token was not accepted. Check that the key is active, that the clock is right, and sign a new token for "
        "each login.",
        reason=reason,
    )
