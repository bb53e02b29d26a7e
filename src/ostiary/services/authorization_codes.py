"""Authorization codes (RFC 6749 §4.1): issued when a person consents, redeemed by the client within a minute."""

from dataclasses import dataclass

from ostiary.core.event import Target
from ostiary.core.model import OAuthClient
from ostiary.core.oauth import CODE_LIFETIME
from ostiary.core.permission import Caller
from ostiary.core.secret import CODE, Secret
from ostiary.services import consents, issuance
from ostiary.services.audit import change
from ostiary.storage import codes
from ostiary.storage.codes import AuthorizationCode
from ostiary.storage.store import Tx


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """Parameters of the authorization request that the code is bound to, beside the consent."""

    redirect_uri: str
    redirect_named: bool
    challenge: str
    """The S256 code challenge (RFC 7636)."""


def allow(tx: Tx, caller: Caller, asked: consents.ConsentRequest, request: CodeRequest) -> Secret:
    """Store the person's consent and return an authorization code, which is valid for one minute.

    Raises what `consents.give` raises.
    """
    given = consents.give(tx, caller, asked)
    new = issuance.new_secret(tx, CODE)
    code = AuthorizationCode(
        new.access_id,
        new.digest,
        new.pepper_id,
        given.session_id,
        asked.client.id,
        request.redirect_uri,
        request.redirect_named,
        request.challenge,
        asked.audiences,
        tx.now + CODE_LIFETIME,
    )
    codes.insert(tx, code)
    return new.secret


def deny(tx: Tx, caller: Caller, client: OAuthClient, scopes: tuple[str, ...]) -> None:
    """Record in the audit log that the person refused consent. Changes nothing else."""
    target = Target("client", client.id, client.name)
    change(tx, caller, "consent.denied", target, client_id=client.id, scopes=list(scopes))
