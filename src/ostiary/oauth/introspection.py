"""`POST /oauth/introspect`: the state of a token (RFC 7662), on the fast path.

In form encoding, the caller authenticates as a client with its secret, or with its own key or token. The
response describes any token that the caller may see if the caller holds `verify:credentials`, else only the
caller's own tokens. In the JSON form, the token authorizes introspection of itself. For a token that is
invalid, or that the caller may not see, the response is `{"active":false}`.
"""

from typing import Any, Final

import orjson

from ostiary.auth.access_request import AccessRequest
from ostiary.auth.authenticator import Authenticator
from ostiary.auth.key_files import names_of
from ostiary.auth.lookup import Lookup
from ostiary.core import access_token
from ostiary.core.address import parse_address
from ostiary.core.instant import SECOND
from ostiary.core.model import Standing
from ostiary.core.permission import EVERYTHING
from ostiary.core.problem import Problem
from ostiary.core.verdict import MALFORMED, Verdict
from ostiary.http import messages, oauth_error
from ostiary.http.messages import MAX_TOKEN, NO_STORE, Headers, Origin
from ostiary.http.oauth_error import OAuthError, invalid_client, invalid_request
from ostiary.oauth import clients
from ostiary.oauth import form as forms
from ostiary.oauth.authentication import CLIENT_SECRET
from ostiary.oauth.form import Form
from ostiary.oauth.token_request import RefusedGrant, refused

MAY_VERIFY: Final = "verify:credentials"
_HEAD: Final = messages.wire(
    200, [(b"content-type", b"application/json"), NO_STORE, (b"pragma", b"no-cache")]
).replace(b"length: 0", b"length: %d")
_INACTIVE: Final = _HEAD % len(b'{"active":false}') + b'{"active":false}'


def answer(
    authenticator: Authenticator, headers: Headers, query: bytes, body: bytes, origin: Origin, lookup: Lookup
) -> tuple[bytes, Verdict | None, str]:
    """Return the response, the caller's verdict (None if nobody authenticated), and the reason for a refusal
    or "".

    Raises CacheMiss if a fact is not in memory.
    """
    caller: Verdict | None = None
    try:
        form = forms.read(headers, query, body)
        if messages.is_json(headers):
            if not isinstance(clients.claimed(headers, form), clients.Public):
                caller = authenticate(
                    authenticator, headers, form, origin, lookup
                )  # optional in this form, but it must be valid
            return _about_itself(authenticator, form, origin, lookup), caller, ""
        caller = authenticate(authenticator, headers, form, origin, lookup)
        return _told(authenticator, caller, form, lookup), caller, ""
    except RefusedGrant as error:
        return oauth_error.wire(error.error), error.verdict, error.error.reason
    except OAuthError as error:
        return oauth_error.wire(error), None, ""
    except Problem as problem:
        return refusal(problem), None, ""


def refusal(problem: Problem) -> bytes:
    """Return the response for a problem."""
    return oauth_error.wire(oauth_error.of_problem(problem))


def authenticate(
    authenticator: Authenticator, headers: Headers, form: Form, origin: Origin, lookup: Lookup
) -> Verdict:
    """Authenticate the caller by a client secret, key or token. Raises OAuthError and RefusedGrant."""
    asked = AccessRequest(origin.address, about_itself=True)
    claim = clients.claimed(headers, form)
    if isinstance(claim, clients.WithAssertion):
        # Each assertion needs a write to mark it as used. Resource servers send too many requests for that.
        raise invalid_request("Authenticate with a client secret, or with an API key or token as Bearer.")
    given = messages.presented(headers, basic=True)
    if isinstance(claim, clients.WithSecret):
        if given.presence != "none":
            raise invalid_request("The client authenticates in more than one way.")
        verdict = authenticator.secret(claim.secret.encode(), CLIENT_SECRET, "client_secret", asked, lookup)
        if verdict.standing is not None and claim.client_id not in names_of(verdict.standing):
            verdict = Verdict("unknown", verdict.standing)
    elif given.presence == "one":
        verdict = authenticator.key_or_token(given.text, asked, lookup)
    elif given.presence in ("conflict", "empty"):
        raise invalid_request("The request carries different credentials, or an empty one.")
    else:
        raise RefusedGrant(invalid_client("no authentication"), MALFORMED)
    if not verdict.valid:
        raise refused("invalid_client", verdict)
    return authenticator.at_large(verdict, asked, lookup)


def _about_itself(authenticator: Authenticator, form: Form, origin: Origin, lookup: Lookup) -> bytes:
    """Return the response of the JSON form: `active`, `scope`, and `expires_at` in seconds since 1970."""
    verdict = authenticator.key_or_token(
        _token(form), AccessRequest(origin.address, about_itself=True, whomever=True), lookup
    )
    standing = verdict.standing
    if not verdict.valid or standing is None:
        return _INACTIVE
    ends = standing.lasts_until if verdict.token is None else verdict.token.expires_at
    granted = frozenset({"api"}) if verdict.token is None else verdict.token.scopes
    body: dict[str, Any] = {"active": True, "scope": " ".join(sorted(granted))}
    if ends is not None:
        body["expires_at"] = ends // SECOND
    return _sent(body)


def _told(authenticator: Authenticator, caller: Verdict, form: Form, lookup: Lookup) -> bytes:
    home = caller.standing
    assert home is not None
    text = _token(form)
    # The caller is a resource server, so its IP address is not the client's. Without `ip`, an allowlist refuses.
    address = None
    if "ip" in form:
        try:
            address = parse_address(form["ip"])
        except ValueError:
            raise invalid_request("ip is not an IP address.") from None
    sees_all = MAY_VERIFY in caller.scopes
    tenant = home.organization.id if sees_all and not home.organization.operator else None
    asked = AccessRequest(address, about_itself=True, whomever=True, tenant=tenant)
    payer = home.organization.id if address is not None else None
    verdict = MALFORMED if len(text) > MAX_TOKEN else authenticator.key_or_token(text, asked, lookup, payer)
    standing = verdict.standing
    if not verdict.valid or standing is None:
        return _INACTIVE
    if not sees_all and standing.principal.id != home.principal.id:
        return _INACTIVE
    token = verdict.token
    at_large = authenticator.at_large(verdict, asked, lookup)
    body: dict[str, Any] = {
        "active": True,
        # The request names no project or resource, so a credential that is limited to some has no scopes here.
        # Callers that need the scopes on a project use /v1/verify.
        "scope": _scope(verdict) if at_large is verdict else " ".join(sorted(at_large.scopes)),
        "client_id": access_token.client_id_of_principal(standing),
        "token_type": "Bearer" if token is not None else "ApiKey",
        "sub": standing.principal.id,
        "iss": authenticator.issuer,
        "account_id": standing.organization.id,
        "username": standing.principal.identifier,
        "display_name": standing.principal.display,
        "credential_id": standing.credential_id,
    }
    if at_large is not verdict:
        body |= _limits(standing)
    ends = standing.lasts_until
    if token is not None:
        ends = token.expires_at
        body |= {"iat": token.issued_at // SECOND, "jti": token.id, "client_id": token.client_id}
        body["iss"] = token.issuer or authenticator.issuer
        body["aud"] = token.audiences[0] if len(token.audiences) == 1 else list(token.audiences)
    if ends is not None:
        body["exp"] = ends // SECOND
    return _sent(body)


def _limits(standing: Standing) -> dict[str, Any]:
    """Return the projects and resources to which the credential is limited.

    `/v1/verify` takes them as parameters.
    """
    resources = [list(each) for each in (standing.principal.resources, standing.resources) if each]
    found = {
        "project": standing.project_id,
        "projects": list(standing.principal.projects),
        "resources": resources,
    }
    return {name: value for name, value in found.items() if value}


def _token(form: Form) -> bytes:
    text = form.get("token")
    if text is None:
        raise invalid_request("token is missing.")
    return text.encode()


def _scope(verdict: Verdict) -> str:
    """Return the scopes granted by name, and the scopes that they currently mean on the organization."""
    named = frozenset({"api"}) if verdict.token is None else verdict.token.scopes & EVERYTHING
    return " ".join([*sorted(named), *sorted(verdict.scopes)])


def _sent(body: dict[str, Any]) -> bytes:
    told = orjson.dumps(body)
    return _HEAD % len(told) + told
