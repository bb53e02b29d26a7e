"""Who calls, as services know it: made from a verdict on what was presented."""

from ostiary.core.oauth import BUILT_IN
from ostiary.core.permission import EVERYTHING, Caller
from ostiary.core.verdict import Verdict
from ostiary.http.messages import Origin
from ostiary.http.telling import actor_of


def caller_of(verdict: Verdict, origin: Origin, user_agent: str, request_id: str) -> Caller:
    """The caller of a request whose credential was proven, in its own organization."""
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
        address=origin.address,
        user_agent=user_agent,
        request_id=request_id,
    )
