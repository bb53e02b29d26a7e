"""Makes the `Caller` that services receive from a verdict on the presented credential."""

import unicodedata

from ostiary.core.address import Address
from ostiary.core.event import Actor
from ostiary.core.model import Standing, Token, actor_display
from ostiary.core.oauth import BUILT_IN
from ostiary.core.permission import EVERYTHING, Caller
from ostiary.core.verdict import Verdict


def caller_of(verdict: Verdict, address: Address | None, user_agent: str, request_id: str) -> Caller:
    """Return the caller of a request with a proven credential, in the credential's organization."""
    standing, token = verdict.standing, verdict.token
    assert standing is not None
    granted = None if token is None or token.scopes & EVERYTHING else token.scopes
    ends = [standing.lasts_until, None if token is None else token.expires_at]
    application = None if standing.client_id in BUILT_IN else standing.client_id
    return Caller(
        actor=actor_of(standing, token),
        organization_id=standing.organization.id,
        scopes=verdict.scopes,
        operator=standing.organization.operator,
        access_id=standing.access_id,
        fine_grained=standing.access_level == "fine_grained" or granted is not None,
        expires_at=min((each for each in ends if each is not None), default=None),
        networks=standing.networks,
        rate_limit=standing.rate_limit,
        operator_admin=standing.operator_admin and application is None,
        token_id=None if token is None else token.id,
        exchanged_from=None if token is None else token.exchanged_from,
        granted=granted,
        application=application,
        address=address,
        user_agent=user_agent,
        request_id=request_id,
    )


def actor_of(standing: Standing, token: Token | None = None) -> Actor:
    """Return the actor that audit events name: the principal, with the credential or session that it used,
    and the token, if any.
    """
    principal = standing.principal
    return Actor(
        principal.kind,
        principal.id,
        display_of(standing),
        standing.credential_id,
        credential_kind=standing.kind,
        token_id=None if token is None else token.id,
    )


def display_of(standing: Standing) -> str:
    """Return an actor's name as the audit log shows it: `ci-bot (API key)`.

    If an account's name could be mistaken for a person's email address, the account's identifier is added.
    """
    principal = standing.principal
    name = principal.display
    if principal.kind == "service_account" and "@" in unicodedata.normalize("NFKC", name):
        name = f"{name} [{principal.identifier}]"
    return actor_display(name, standing.kind)
