"""The grants by which machines get tokens. Each grant turns a request into the result from which a token is
issued.

The grants that begin with a person's consent are in `person_grants`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from ostiary.auth.authenticator import SESSION
from ostiary.auth.key_files import names_of
from ostiary.core.model import Standing
from ostiary.core.oauth import (
    AUTHORIZATION_CODE,
    CLIENT_CREDENTIALS,
    DEVICE_CODE,
    JWT_BEARER,
    NO_SECOND_EXCHANGE,
    NO_SESSION,
    REFRESH_TOKEN,
    TOKEN_EXCHANGE,
    scope_names,
)
from ostiary.core.verdict import MALFORMED, UNKNOWN, Verdict
from ostiary.http.oauth_error import OAuthError, invalid_client, invalid_request
from ostiary.oauth.person_grants import authorization_code, device_code, refresh_token
from ostiary.oauth.token_request import AuthenticatedClient, GrantResult, RefusedGrant, TokenRequest, refused
from ostiary.storage.journal import UsedMark

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693's name


def _standing(asked: TokenRequest, client: AuthenticatedClient | None) -> Standing | None:
    """Return the standing of an authenticated service account.

    Clients that people consent to may not use these grants.
    """
    if client is None:
        return None
    if client.standing is None:
        raise OAuthError("unauthorized_client", reason="not a service account")
    return client.standing


def _same(
    asked: TokenRequest, client: Standing | None, subject: Standing, verdict: Verdict, reason: str
) -> None:
    """Raise if the client that authenticates, or is named, is not the account that the token is for."""
    named = asked.form.get("client_id")
    if (client is not None and client.principal.id != subject.principal.id) or (
        named is not None and named not in names_of(subject)
    ):
        raise RefusedGrant(OAuthError("invalid_grant", reason=reason), verdict)


def client_credentials(asked: TokenRequest, client: AuthenticatedClient | None) -> GrantResult:
    """RFC 6749 §4.4: exchange the client's own credential for a token of its own."""
    standing = _standing(asked, client)
    if standing is None:
        raise RefusedGrant(invalid_client("no authentication"), UNKNOWN)
    return GrantResult(standing)


def jwt_bearer(asked: TokenRequest, client: AuthenticatedClient | None) -> GrantResult:
    """RFC 7523 §2.1: exchange an assertion that a key file signed.

    A client that also authenticates must be its account.
    """
    account = _standing(asked, client)
    text = asked.form.get("assertion")
    if text is None:
        raise invalid_request("assertion is missing.")
    verdict, checked, reason, told = asked.authenticator.key_files.judge(
        "grant", text.encode(), asked.access_request, asked.lookup, asked.audiences
    )
    standing = verdict.standing
    if not verdict.valid or standing is None or checked is None:
        raise refused("invalid_grant", verdict, reason, told)
    _same(asked, account, standing, verdict, "assertion of another client")
    used = UsedMark(checked.jti_digest, checked.expires_at)
    if checked.scope is None:
        return GrantResult(standing, used=used)
    # The signed scope is the limit, whatever the `scope` parameter requests.
    try:
        signed = scope_names(checked.scope)
    except ValueError:
        raise refused("invalid_grant", verdict, "scope") from None
    return GrantResult(standing, frozenset(signed), checked.scope, used=used)


def token_exchange(asked: TokenRequest, client: AuthenticatedClient | None) -> GrantResult:
    """RFC 8693: exchange a key or token for a token with the same or less access."""
    account, form = _standing(asked, client), asked.form
    text, kind = form.get("subject_token"), form.get("subject_token_type")
    if text is None or kind is None:
        raise invalid_request("subject_token and subject_token_type are required.")
    if kind != ACCESS_TOKEN or form.get("requested_token_type") not in (None, ACCESS_TOKEN):
        raise invalid_request(
            "Only access tokens can be exchanged, and only for access tokens.", "token type"
        )
    if "actor_token" in form or "actor_token_type" in form:
        raise invalid_request("Actor tokens are not supported.", "actor_token")
    if "audience" in form:
        # Ignoring the parameter would issue a token for a different target than requested.
        raise OAuthError(
            "invalid_target", "Use the resource parameter with the target's URI, not audience.", "audience"
        )
    presented = text.encode()
    if presented.startswith(SESSION):
        error = OAuthError("invalid_grant", f"{NO_SESSION} Use the key file again.", "session")
        raise RefusedGrant(error, MALFORMED)
    verdict = asked.authenticator.key_or_token(presented, asked.access_request, asked.lookup)
    standing, token = verdict.standing, verdict.token
    if not verdict.valid or standing is None:
        raise refused("invalid_grant", verdict)
    _same(asked, account, standing, verdict, "subject of another client")
    issued = {"issued_token_type": ACCESS_TOKEN}
    if token is None:
        return GrantResult(standing, members=issued)
    if token.exchanged_from is not None:
        text = f"{NO_SECOND_EXCHANGE} Use the original key or token."
        raise RefusedGrant(OAuthError("invalid_grant", text, "exchanged before"), verdict)
    return GrantResult(
        standing,
        token.scopes,
        " ".join(sorted(token.scopes)),
        token.expires_at,
        exchanged_from=token.id,
        members=issued,
    )


GRANTS: Final[Mapping[str, Callable[[TokenRequest, AuthenticatedClient | None], GrantResult]]] = {
    CLIENT_CREDENTIALS: client_credentials,
    JWT_BEARER: jwt_bearer,
    TOKEN_EXCHANGE: token_exchange,
    AUTHORIZATION_CODE: authorization_code,
    REFRESH_TOKEN: refresh_token,
    DEVICE_CODE: device_code,
}
