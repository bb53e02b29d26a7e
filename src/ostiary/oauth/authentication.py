"""Step 2 of the token endpoint: authenticate the client.

A service account authenticates with a client secret or an assertion signed by its key file. A client that
people consent to does not authenticate (`none`), or signs an assertion with a key from its metadata
(`private_key_jwt`).
"""

from typing import Final

from ostiary.auth.key_files import SEVERAL_KEYS, names_of
from ostiary.core import access_token, assertion, jws, model
from ostiary.core.assertion import AssertionKey
from ostiary.core.client_metadata import is_document_url
from ostiary.core.jws import InvalidTokenError
from ostiary.core.oauth import BUILT_IN
from ostiary.core.secret import CLIENT_SECRET as SECRET
from ostiary.core.verdict import MALFORMED, Verdict
from ostiary.http.client_documents import DocumentError
from ostiary.http.oauth_error import OAuthError, invalid_client
from ostiary.oauth import clients
from ostiary.oauth.token_request import AuthenticatedClient, RefusedGrant, TokenRequest, refused
from ostiary.storage import clients as rows
from ostiary.storage import journal
from ostiary.storage.journal import UsedMark

CLIENT_SECRET: Final = (SECRET.encode(),)
REGISTERED: Final = "app_"


def authenticated(claim: clients.Claim, asked: TokenRequest) -> AuthenticatedClient | None:
    """Return the client of a request.

    Return None if the request neither authenticates a client nor names one that people consent to. Raises
    RefusedGrant, or CacheMiss if the client is not in memory.
    """
    match claim:
        case clients.Public(client_id):
            if client_id is None or not is_of_people(client_id):
                return None
            client = _public(client_id, asked)
            return AuthenticatedClient(client.id, None, facts=client)
        case clients.WithSecret(client_id, secret, _):
            verdict = asked.authenticator.secret(
                secret.encode(), CLIENT_SECRET, "client_secret", asked.access_request, asked.lookup
            )
            used, reason, told = None, "", ""
        case clients.WithAssertion(text, client_id):
            if names_client_of_people(claim):
                return _with_keys(client_id or _issuer(text) or "", text, asked)
            verdict, checked, reason, told = asked.authenticator.key_files.judge(
                "client", text.encode(), asked.access_request, asked.lookup, asked.audiences
            )
            used = None if checked is None else UsedMark(checked.jti_digest, checked.expires_at)
    standing = verdict.standing
    if not verdict.valid or standing is None:
        raise refused("invalid_client", verdict, reason, told)
    if client_id is not None and client_id not in names_of(standing):
        raise RefusedGrant(invalid_client("secret of another client"), Verdict("unknown", standing))
    return AuthenticatedClient(access_token.client_id_of_principal(standing), standing, used)


def authenticated_once(claim: clients.Claim, asked: TokenRequest) -> AuthenticatedClient | None:
    """Authenticate a client and use up its assertion immediately. For endpoints that record no token."""
    client = authenticated(claim, asked)
    used = None if client is None else client.used
    if used is not None and not asked.database.write_on((), journal.use_up, [used]):
        raise RefusedGrant(invalid_client("used before"), MALFORMED)
    return client


def names_client_of_people(claim: clients.WithAssertion) -> bool:
    """Return whether an assertion claims to be from a client that people consent to."""
    claimed = claim.client_id or _issuer(claim.assertion)
    return claimed is not None and is_of_people(claimed)


def is_of_people(client_id: str) -> bool:
    """Return whether the id has the form of a client that people consent to, not of a service account."""
    return client_id in BUILT_IN or client_id.startswith(REGISTERED) or is_document_url(client_id)


def _public(client_id: str, asked: TokenRequest) -> model.OAuthClient:
    client = _known(client_id, asked)
    if client.auth_method != "none":
        raise RefusedGrant(invalid_client("no assertion"), MALFORMED)
    return client


def _known(client_id: str, asked: TokenRequest) -> model.OAuthClient:
    client = rows.find(asked.database, client_id)
    if client is None or client.disabled_at is not None:
        raise RefusedGrant(
            invalid_client("unknown client" if client is None else "disabled client"), MALFORMED
        )
    return client


def _with_keys(client_id: str, text: str, asked: TokenRequest) -> AuthenticatedClient:
    """Check an assertion with the client's own keys (RFC 7523 §2.2, §3).

    It uses the key named by `kid`, else the only key.
    """
    client = _known(client_id, asked)
    try:
        if client.auth_method != "private_key_jwt":
            raise InvalidTokenError("a client without keys")
        read = jws.read(text.encode())
        keys = asked.keys_of(client, read.key_id, asked.origin.address)
        signers = [
            AssertionKey(key.id or "", key.algorithm, key.public_key, client.id, "", client.id)
            for key in keys
            if read.key_id in (None, key.id)
        ]
        _, checked = assertion.check_any(
            "client", text.encode(), read, signers, asked.audiences, asked.authenticator.clock()
        )
    except DocumentError as error:
        raise RefusedGrant(invalid_client(error.reason), MALFORMED) from None
    except InvalidTokenError as error:
        asked.authenticator.rates.failed(asked.origin.address)
        raise RefusedGrant(invalid_client(str(error)), MALFORMED) from None
    if len(signers) > 1:
        raise RefusedGrant(OAuthError("invalid_client", SEVERAL_KEYS, "several keys"), MALFORMED)
    return AuthenticatedClient(client.id, None, UsedMark(checked.jti_digest, checked.expires_at), client)


def _issuer(text: str) -> str | None:
    """Return the claimed issuer of an assertion, or None if the assertion cannot be read."""
    try:
        issuer = jws.read(text.encode()).claims.get("iss")
    except InvalidTokenError:
        return None
    return issuer if isinstance(issuer, str) else None
