"""The data of a token request, before and after a grant handles it: request, client and result.

The token pipeline does the work that all grants share: client, scopes, audience, signing and recording.
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
"""Return the public keys with which a client signs assertions. Arguments: the client, the `kid` to find, and
the requester's IP address.

If the client publishes its keys at a URL, they are fetched. Raises DocumentError.
"""


@dataclass(frozen=True, slots=True)
class AuthenticatedClient:
    """An authenticated client: a service account with one of its credentials, or a client that people consent to."""

    id: str
    standing: Standing | None
    """For a service account."""
    used: UsedMark | None = None
    """The assertion that it used up, if any."""
    facts: model.OAuthClient | None = None
    """For a client that people consent to. A client without its own keys does not authenticate."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to the token endpoint, with the means to look up its facts."""

    form: Form
    origin: Origin
    authenticator: Authenticator
    lookup: Lookup
    audiences: frozenset[str]
    """The accepted audiences of an assertion: this server's issuer or its token endpoint."""
    store: Store
    keys_of: KeysOf

    @property
    def database(self) -> Store:
        """Return the store, for data that is never in memory.

        Raises CacheMiss on the event loop, which must not block.
        """
        if not self.lookup.reads:
            raise CacheMiss
        return self.store

    @property
    def access_request(self) -> AccessRequest:
        """Return the access request for a credential that is exchanged.

        It checks whether the credential may act, and the client's IP address.
        """
        return AccessRequest(self.origin.address, about_itself=True)


@dataclass(frozen=True, slots=True)
class GrantResult:
    """The result of a grant: the origin of a token, and the limits of its access."""

    standing: Standing
    scopes: Scopes = EVERYTHING
    default: str | None = None
    """The scopes that were requested other than by the `scope` parameter, or None."""
    ends_at: Instant | None = None
    exchanged_from: str | None = None
    used: UsedMark | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    """Additional fields of the response."""
    consented: bool = False
    """Whether a person consented to the scopes. If so, scopes that are no longer held are left out, not refused."""
    audiences: tuple[str, ...] = ()
    """The resources of the consent. Requested resources must be among them."""
    redeem: Callable[[Tx], bool] | None = None
    """Use up the presented code or token in the transaction of the record. It returns False if a concurrent
    request was first. The request then runs once more, as if it came later.
    """


class RefusedGrant(Exception):  # noqa: N818 - it carries an OAuth error and the verdict on the client
    """Raised when a token request is refused. `error` is sent to the client; `verdict` is counted."""

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
