"""`/oauth/authorize`: a client requests access and a person decides (RFC 6749 §4.1, OAuth 2.1 §4.1, RFC 9207).

Consent is requested every time. Only `prompt=none` skips the page, if the person consented to the same access before
and the redirect URI uses https. The request is not stored: the form carries it, and it is checked again when the form
is sent.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.responses import RedirectResponse, Response

from ostiary.console import views
from ostiary.console.page_request import PageRequest, SignInRequired, Visitor, page
from ostiary.console.words import describe_span
from ostiary.core.client_metadata import is_document_url
from ostiary.core.instant import MINUTE
from ostiary.core.model import OAuthClient, Organization
from ostiary.core.oauth import is_dangerous
from ostiary.core.problem import Problem
from ostiary.core.verdict import MALFORMED
from ostiary.http.authorization_request import (
    AuthorizationRequest,
    NotRedirectableError,
    RedirectError,
    RedirectTarget,
    known_audiences,
    read,
    redirect_url,
)
from ostiary.http.client_documents import DocumentError
from ostiary.services import authorization_codes, consents, organizations
from ostiary.services.consents import ConsentRequest
from ostiary.services.execute import execute
from ostiary.storage import clients as client_rows
from ostiary.storage import consents as consent_rows
from ostiary.storage import directory, sessions
from ostiary.storage.store import Tx

PATH: Final = "/oauth/authorize"


def find_client(visit: PageRequest, client_id: str) -> OAuthClient:
    """Find a client by its id or by its metadata document. Raise NotRedirectableError if it is unknown or disabled."""
    client: OAuthClient | None
    if is_document_url(client_id):
        try:
            client = visit.wiring.documents.resolve(client_id, visit.origin.address)
        except DocumentError as error:
            raise NotRedirectableError("invalid_client", str(error)) from None
    else:
        client = client_rows.find(visit.wiring.store, client_id)
    if client is None or client.disabled_at is not None:
        raise NotRedirectableError("invalid_client", "client_id is unknown, or the client was disabled.")
    return client


def show(visit: PageRequest) -> Response:
    """Show the consent page to a signed-in person."""
    return _with_request(visit, visit.request.url.query, _show)


def decide(visit: PageRequest) -> Response:
    """Handle the person's decision."""
    return _with_request(visit, visit.fields.get("request"), _decide)


def _with_request(
    visit: PageRequest, query: str, work: Callable[[PageRequest, str, AuthorizationRequest], Response]
) -> Response:
    """Read the request and call `work`. Report an error on a page, or to the client by a redirect where that is safe."""
    try:
        return work(visit, query, _read(visit, query))
    except NotRedirectableError as error:
        return views.wrong_request(error.code, error.developer)
    except RedirectError as error:
        if error.refused is not None:
            reason, resource = error.refused.reason, error.refused.resource
            visit.wiring.authenticator.note(
                MALFORMED, visit.origin.text, "consent", visit.now, refused=reason, resource=resource
            )
        members = {"error": error.code, "error_description": error.description}
        return _redirect(visit, error.target, members)


def _read(visit: PageRequest, query: str) -> AuthorizationRequest:
    authenticator = visit.wiring.authenticator
    catalogue = authenticator.current_facts().catalogue()
    if catalogue is None:
        raise Problem("unavailable", "Try again.")
    return read(
        query,
        lambda client_id: find_client(visit, client_id),
        catalogue,
        partial(known_audiences, authenticator),
    )


def _show(visit: PageRequest, query: str, request: AuthorizationRequest) -> Response:
    if "none" in request.prompts:
        return _without_page(visit, request)
    visitor = _require_person(visit, query, request)
    return _consent_page(visit, visitor, query, request)


def _require_person(visit: PageRequest, query: str, request: AuthorizationRequest) -> Visitor:
    """Return the signed-in person. Raise SignInRequired if there is none, or the password is needed again."""
    target = f"{PATH}?{query}"
    visitor = visit.visitor
    if visitor is None:
        raise SignInRequired(target=target)
    given = visitor.session.authenticated_at or 0
    again = "login" in request.prompts and given <= visit.now - MINUTE
    if again or (is_dangerous(request.client, request.scopes) and not visitor.recent(visit.now)):
        raise SignInRequired(again=True, target=target)
    return visitor


def _consent_page(
    visit: PageRequest, visitor: Visitor, query: str, request: AuthorizationRequest, error: str | None = None
) -> Response:
    client = request.client
    found = visit.wiring.store.read(_choices, visitor.user_id, client)
    if not found:
        said = (
            f"{client.name} requests access to projects of an organization that you administer. You administer none."
            if client.access == "organization"
            else "You are not a member of an active organization."
        )
        return views.message(
            views.MessageView("There is nothing to allow", (said,), link=("Your account", "/account"))
        )
    chosen = visit.fields.get("organization") or visitor.caller.organization_id
    integrator = None
    if client.organization_id is not None:
        integrator = visit.wiring.store.read(directory.find_organization, client.organization_id)
    facts = views.ConsentView(
        form_token=visit.form_token,
        request=query,
        application=views.application_of(client, None if integrator is None else integrator.name),
        redirect_uri=request.target.redirect_uri,
        scopes=request.scopes,
        lifetime=visit.wiring.store.read(_lifetime, visitor.caller.organization_id),
        email=visitor.email,
        organizations=tuple(found),
        organization=chosen if chosen in {each.id for each in found} else found[0].id,
        everywhere=visit.fields.get("reach") != "some",
        chosen=visit.fields.all("project"),
        on_behalf=integrator.name if integrator is not None and client.access == "organization" else None,
        sign_out_next=f"{PATH}?{query}",
        error=error,
    )
    return views.consent(facts, 200 if error is None else 422)


def _choices(tx: Tx, user_id: str, client: OAuthClient) -> list[views.OrganizationView]:
    return [_choice(tx, each) for each in consents.organizations_for(tx, user_id, client)]


def _choice(tx: Tx, organization: Organization) -> views.OrganizationView:
    projects = directory.list_projects(tx, organization.id, None, 200)
    return views.OrganizationView(
        organization.id,
        organization.name,
        tuple(views.ProjectView(each.id, each.name, each.code) for each in projects),
    )


def _lifetime(tx: Tx, organization_id: str) -> str:
    return describe_span(organizations.policy_of(tx, organization_id).session_lifetime)


def _decide(visit: PageRequest, query: str, request: AuthorizationRequest) -> Response:
    visitor = _require_person(visit, query, request)
    decision = visit.fields.get("decision")
    if decision == "deny":
        execute(
            visit.wiring.store,
            visitor.caller,
            authorization_codes.deny,
            request.client,
            request.scopes,
            confirmed=False,
        )
        denied = {"error": "access_denied", "error_description": "The person denied access."}
        return _redirect(visit, request.target, denied)
    if decision != "allow":
        return _consent_page(visit, visitor, query, request, "Choose whether to allow it.")
    found = {each.id: each for each in visit.wiring.store.read(_choices, visitor.user_id, request.client)}
    organization = found.get(
        visit.fields.get("organization") or (next(iter(found)) if len(found) == 1 else "")
    )
    if organization is None:
        return _consent_page(visit, visitor, query, request, "Choose an organization.")
    for_another = request.client.access == "organization"
    projects: tuple[str, ...] = ()
    if for_another or visit.fields.get("reach") == "some":
        there = {each.id for each in organization.projects}
        projects = tuple(each for each in dict.fromkeys(visit.fields.all("project")) if each in there)
        if not projects:
            return _consent_page(visit, visitor, query, request, "Choose at least one project.")
    return _allow(visit, visitor, request, organization.id, projects)


def _allow(
    visit: PageRequest,
    visitor: Visitor,
    request: AuthorizationRequest,
    organization_id: str,
    projects: tuple[str, ...],
) -> Response:
    client, target = request.client, request.target
    consent = ConsentRequest(
        client,
        organization_id,
        request.scopes,
        projects,
        request.audiences,
        address=visit.origin.text,
        user_agent=visit.user_agent,
    )
    bound = authorization_codes.CodeRequest(target.redirect_uri, target.redirect_named, request.challenge)
    home = client.organization_id if client.access == "organization" else None
    code = execute(
        visit.wiring.store,
        visitor.caller,
        authorization_codes.allow,
        consent,
        bound,
        organizations=tuple({organization_id, home or organization_id}),
        confirmed=is_dangerous(client, request.scopes),
    )
    return _redirect(visit, target, {"code": code.reveal()})


def _without_page(visit: PageRequest, request: AuthorizationRequest) -> Response:
    """`prompt=none`: allow what the person allowed before. Raise RedirectError if a page would have to be shown."""
    visitor, client, target = visit.visitor, request.client, request.target
    if visitor is None:
        raise RedirectError(target, "login_required", "No person is signed in.")
    before = visit.wiring.store.read(
        consent_rows.find_live, visitor.caller.organization_id, client.id, visitor.user_id
    )
    projects = None
    if before is not None:
        projects = visit.wiring.store.read(sessions.covering, before.id, request.scopes, request.audiences)
    if (
        before is None
        or projects is None
        or client.access == "organization"
        # The program behind a loopback address or a private scheme is not authenticated (RFC 8252 §8.6).
        or not target.redirect_uri.startswith("https:")
    ):
        raise RedirectError(target, "consent_required", "The person must consent first.")
    try:
        return _allow(visit, visitor, request, before.organization_id, projects)
    except Problem as problem:
        if problem.code != "reauthentication-required":
            raise
        raise RedirectError(target, "login_required", "The person must enter the password again.") from None


def _redirect(visit: PageRequest, target: RedirectTarget, members: dict[str, str]) -> Response:
    address = redirect_url(target, visit.wiring.store.installation.issuer, members)
    return RedirectResponse(address, 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})


ROUTES: Final = (
    page("GET", PATH, show),
    page("POST", PATH, decide),
)
