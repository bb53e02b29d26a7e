"""What a request to the token endpoint is made of, before a grant looks at it and after: asked, client, subject.

All that grants have in common (who the client is, scopes, audience, signing, recording) is the pipeline's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ostiary.auth.access_request import AccessRequest
from ostiary.auth.authenticator import Authenticator
from ostiary.auth.lookup import CacheMiss, Lookup
from ostiary.auth.rates import FAILURE_WAIT
from ostiary.core import model
from ostiary.core.address import Address
from ostiary.core.client_keys import ClientKey
from ostiary.core.instant import Instant
from ostiary.core.model import Standing
from ostiary.core.permission import EVERYTHING, Scopes
from ostiary.core.verdict import Verdict
from ostiary.http.messages import Origin
from ostiary.http.oauth_error import OAuthError, too_many
from ostiary.oauth.form import Form
from ostiary.storage.journal import UsedMark
from ostiary.storage.store import Store, Tx

KeysOf = Callable[[model.OAuthClient, str | None, Address | None], tuple[ClientKey, ...]]
"""The keys that a client signs with, and where they are published among them this one; for whoever asks from there.

Raises DocumentError.
"""


@dataclass(frozen=True, slots=True)
class AuthenticatedClient:
    """Who asks: a service account, which proved it by one of its credentials; or a client that people consent to."""

    id: str
    standing: Standing | None
    """Of a service account."""
    used: UsedMark | None = None
    """What its proof used up."""
    facts: model.OAuthClient | None = None
    """Of a client that people consent to. What has no keys of its own proves nothing."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to the token endpoint, and how its facts are found."""

    form: Form
    origin: Origin
    authenticator: Authenticator
    lookup: Lookup
    audiences: frozenset[str]
    """Whom an assertion may be addressed to: this server, by its issuer or its token endpoint."""
    store: Store
    keys_of: KeysOf

    @property
    def database(self) -> Store:
        """Where to look for what is never in memory. Raises CacheMiss where nothing may be waited for."""
        if not self.lookup.reads:
            raise CacheMiss
        return self.store

    @property
    def access_request(self) -> AccessRequest:
        """What is asked about a credential that shall be traded: whether it may act, from where the request comes."""
        return AccessRequest(self.origin.address, about_itself=True)


@dataclass(frozen=True, slots=True)
class GrantResult:
    """What a token is to stand for: what it comes from, and how far it may reach at most."""

    standing: Standing
    scopes: Scopes = EVERYTHING
    default: str | None = None
    """The scope that was asked for elsewhere than in the parameter; None: nowhere."""
    ends_at: Instant | None = None
    exchanged_from: str | None = None
    used: UsedMark | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    """What the answer says besides."""
    consented: bool = False
    """Whether somebody consented to the scopes: what they do not hold is left out, and not refused."""
    audiences: tuple[str, ...] = ()
    """Resources that were named before; those that are named now are among them."""
    redeem: Callable[[Tx], bool] | None = None
    """Use up, in the transaction of the record, what was presented. Returns False if a concurrent request did so first:
    then the request is judged once more, as one that came later."""


class RefusedGrant(Exception):  # noqa: N818 - it carries the error, and what is known of whom it refuses
    """A refusal with the verdict that it follows from: that is counted."""

    def __init__(self, error: OAuthError, verdict: Verdict) -> None:
        super().__init__(error.code)
        self.error = error
        self.verdict = verdict


def refused(code: str, verdict: Verdict, reason: str = "", told: str = "") -> RefusedGrant:
    """Return the refusal of a client (`invalid_client`) or of a grant (`invalid_grant`).

    `told` is an error message for a client that has proved its identity. Others get the neutral message.
    """
    if verdict.code == "rate_limited":
        return RefusedGrant(too_many(FAILURE_WAIT), verdict)
    return RefusedGrant(OAuthError(code, told, reason or verdict.code), verdict)
