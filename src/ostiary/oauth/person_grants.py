"""The grants that begin with a person's consent: authorization code, device code, and refresh token.

A code is redeemed for the first tokens of a session. A refresh token renews them. This module looks up and
checks what was presented. It is used up in the transaction that records the token. So only one of several
concurrent requests succeeds, and a database failure uses up nothing.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from ostiary.auth.key_files import channel_of
from ostiary.core import model, refresh, secret
from ostiary.core.model import Standing, Token
from ostiary.core.oauth import AUTHORIZATION_CODE, DEVICE_CODE, OFFLINE_ACCESS, REFRESH_TOKEN
from ostiary.core.permission import EVERYTHING
from ostiary.core.secret import CODE
from ostiary.core.verdict import UNKNOWN, Verdict
from ostiary.http.oauth_error import OAuthError, invalid_client, invalid_request
from ostiary.oauth.token_request import AuthenticatedClient, GrantResult, RefusedGrant, TokenRequest, refused
from ostiary.services import consents, devices
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.execute import execute
from ostiary.services.sessions import end
from ostiary.storage import codes, sessions
from ostiary.storage.codes import AuthorizationCode
from ostiary.storage.sessions import Session
from ostiary.storage.store import Tx

_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def authorization_code(asked: TokenRequest, client: AuthenticatedClient | None) -> GrantResult:
    """RFC 6749 §4.1.3 and RFC 7636 §4.5: redeem a code for the client that received it, with its verifier."""
    facts, form = _of_people(client, AUTHORIZATION_CODE), asked.form
    text = form.get("code")
    if text is None:
        raise invalid_request("code is missing.")
    code = _find_code(asked, text)
    if code is None or code.client_id != facts.id:
        raise _invalid("unknown code" if code is None else "code of another client")
    verdict = _standing_of(asked, code.session_id)
    if code.used_at is not None:
        # The code was presented twice. One of the two may have stolen it, so the session ends (RFC 6749 §4.1.2).
        _end(asked, verdict, code.session_id, "its code was used again")
        raise RefusedGrant(OAuthError("invalid_grant", reason="code used before"), verdict)
    if code.expires_at <= asked.authenticator.clock():
        raise RefusedGrant(OAuthError("invalid_grant", reason="code expired"), verdict)
    redirect_uri = form.get("redirect_uri")
    if redirect_uri != code.redirect_uri and (redirect_uri is not None or code.redirect_named):
        raise RefusedGrant(OAuthError("invalid_grant", reason="another redirect_uri"), verdict)
    verifier = form.get("code_verifier") or ""
    if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(
        challenge_of(verifier).encode(), code.challenge.encode()
    ):
        raise RefusedGrant(OAuthError("invalid_grant", reason="wrong verifier"), verdict)

    def redeem(tx: Tx, number: int) -> bool:
        return codes.use(tx, code.access_id) and sessions.begin(tx, code.session_id, number)

    return _first_tokens(asked, facts, verdict, code.session_id, code.audiences, redeem)


def _first_tokens(
    asked: TokenRequest,
    client: model.OAuthClient,
    verdict: Verdict,
    session_id: str,
    audiences: tuple[str, ...],
    redeem: Callable[[Tx, int], bool],
) -> GrantResult:
    """Return the first tokens of a session based on consent.

    `redeem(tx, number)` returns False if the code is used up.
    """
    standing = _proven(verdict)
    found = asked.database.read(sessions.find_with_family, session_id)
    if found is None:
        raise _invalid("session gone")
    session, family = found
    reason = asked.database.read(consents.reason_to_refuse_code, session)
    if reason is not None:
        raise RefusedGrant(OAuthError("invalid_grant", reason=reason), verdict)
    members: dict[str, Any] = {}
    number = 0
    if REFRESH_TOKEN in client.grant_types and (
        client.source == "built_in" or OFFLINE_ACCESS in session.scopes
    ):
        number = 1
        pepper = _pepper(asked, family.pepper_id)
        members["refresh_token"] = refresh.token(pepper, family.seed, family.id, number).reveal()
    if client.access == "organization":
        principal = standing.principal
        members["service_account"] = {
            "id": principal.id,
            "client_id": model.client_id_of(principal.id),
            "channel_identifier": channel_of(standing),
        }

    def begin(tx: Tx) -> bool:
        return consents.lock_and_check_code(tx, session) and redeem(tx, number)

    return _subject(standing, session, audiences, members, begin)


def device_code(asked: TokenRequest, client: AuthenticatedClient | None) -> GrantResult:
    """RFC 8628 §3.4 and §3.5: redeem a device code for the client that received it.

    The effects of polling are committed first.
    """
    facts = _of_people(client, DEVICE_CODE)
    text = asked.form.get("device_code")
    if text is None:
        raise invalid_request("device_code is missing.")
    polled = asked.database.write_on((), devices.poll, text.encode(), facts.id)
    if polled.step == "invalid_grant":
        raise RefusedGrant(OAuthError("invalid_grant", reason=polled.reason), UNKNOWN)
    if polled.step != "approved":
        raise OAuthError(polled.step)

    def redeem(tx: Tx, number: int) -> bool:
        return codes.use_device(tx, polled.access_id) and sessions.begin(tx, polled.session_id, number)

    verdict = _standing_of(asked, polled.session_id)
    return _first_tokens(asked, facts, verdict, polled.session_id, polled.audiences, redeem)


def refresh_token(asked: TokenRequest, client: AuthenticatedClient | None) -> GrantResult:
    """RFC 6749 §6: exchange the current token of a family for its successor and an access token.

    For a few seconds, the previous token gets the same successor again, because the response may have been
    lost. Reuse of an older token counts as theft and ends the session.
    """
    facts = _of_people(client, REFRESH_TOKEN)
    text = asked.form.get("refresh_token")
    if text is None:
        raise invalid_request("refresh_token is missing.")
    claimed = refresh.read_claims(text.encode())
    found = None if claimed is None else asked.database.read(sessions.find_family, claimed.family)
    if claimed is None or found is None:
        raise _invalid("unknown refresh token")
    session, family = found
    pepper = _pepper(asked, family.pepper_id)

    def token(number: int) -> str:
        return refresh.token(pepper, family.seed, family.id, number).reveal()

    if not 1 <= claimed.number <= family.number or not hmac.compare_digest(
        token(claimed.number).encode(), text.encode()
    ):
        raise _invalid("forged refresh token")
    verdict = _standing_of(asked, session.id)
    if session.client_id != facts.id:
        raise RefusedGrant(OAuthError("invalid_grant", reason="refresh token of another client"), verdict)
    standing = _proven(verdict)
    now = asked.authenticator.clock()
    current = claimed.number == family.number
    in_grace = (
        claimed.number == family.number - 1
        and family.refreshed_at is not None
        and now < family.refreshed_at + refresh.GRACE
    )
    if not current and not in_grace:
        _end(asked, verdict, session.id, "a refresh token was used again")
        raise RefusedGrant(OAuthError("invalid_grant", reason="refresh token used before"), verdict)
    members = {"refresh_token": token(claimed.number + 1)}
    if in_grace:
        return _subject(
            standing, session, session.audiences, members, lambda tx: sessions.is_live(tx, session.id)
        )
    return _subject(
        standing,
        session,
        session.audiences,
        members,
        lambda tx: sessions.rotate(tx, session.id, claimed.number),
    )


def _of_people(client: AuthenticatedClient | None, grant_type: str) -> model.OAuthClient:
    """Return the registered client that sent the request.

    Raises RefusedGrant if no client was identified, OAuthError if the client may not use this grant.
    """
    if client is None:
        raise RefusedGrant(invalid_client("no client"), UNKNOWN)
    if client.facts is None or grant_type not in client.facts.grant_types:
        raise OAuthError("unauthorized_client", reason="not this client's grant")
    return client.facts


def challenge_of(verifier: str) -> str:
    """Return the S256 code challenge of a verifier (RFC 7636 §4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def _standing_of(asked: TokenRequest, session_id: str) -> Verdict:
    """Return the verdict on a session that is about to begin or continue: session, consent, client and owner."""
    standing = asked.lookup.standing(session_id)
    if standing is None or standing.expires_at is None:
        return UNKNOWN
    issuer = asked.authenticator.issuer
    token = Token("session", session_id, session_id, EVERYTHING, (issuer,), "", 0, standing.expires_at)
    return asked.authenticator.judge(standing, asked.access_request, asked.lookup, token)


def _proven(verdict: Verdict) -> Standing:
    """Return the standing of a valid verdict. Raises RefusedGrant for any other."""
    if not verdict.valid or verdict.standing is None:
        raise refused("invalid_grant", verdict)
    return verdict.standing


def _subject(
    standing: Standing,
    session: Session,
    audiences: tuple[str, ...],
    members: dict[str, Any],
    redeem: Callable[[Tx], bool],
) -> GrantResult:
    # A client can request all consented scopes again (RFC 6749 §6), including `offline_access`, which no token holds.
    scopes = frozenset(session.scopes)
    return GrantResult(
        standing,
        scopes,
        " ".join(sorted(scopes - {OFFLINE_ACCESS})),
        session.expires_at,
        members=members,
        consented=True,
        audiences=audiences,
        redeem=redeem,
    )


def _find_code(asked: TokenRequest, text: str) -> AuthorizationCode | None:
    access_id = secret.parse(text.encode(), (CODE.encode(),))
    code = None if access_id is None else codes.find(asked.database, access_id)
    if code is None:
        return None
    pepper = _pepper(asked, code.pepper_id)
    return code if secret.matches(code.digest, secret.digest(text.encode(), pepper)) else None


def _end(asked: TokenRequest, verdict: Verdict, session_id: str, because: str) -> None:
    """End a session whose code or refresh token was reused. This is committed before the response is sent."""
    standing = verdict.standing
    if standing is not None:
        caller = replace(SYSTEM_CALLER, organization_id=standing.organization.id)
        execute(asked.database, caller, end, session_id, because)


def _pepper(asked: TokenRequest, pepper_id: str) -> bytes:
    """Return the pepper with which a secret was hashed. Raises RefusedGrant if it is gone."""
    pepper = asked.database.installation.keyring.peppers.get(pepper_id)
    if pepper is None:
        raise _invalid("pepper gone")
    return pepper


def _invalid(reason: str) -> RefusedGrant:
    return RefusedGrant(OAuthError("invalid_grant", reason=reason), UNKNOWN)
