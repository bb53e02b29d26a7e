"""The grant of a device (RFC 8628 §3.4, §3.5): it asks until somebody has decided, and then gets a session's tokens."""

from ostiary.core.oauth import DEVICE_CODE
from ostiary.core.verdict import UNKNOWN
from ostiary.http.oauth.asking import Asked, Client, Refused, Subject
from ostiary.http.oauth.errors import OAuthError, invalid_request
from ostiary.http.oauth.person_grants import first_tokens, of_people, standing_of
from ostiary.services import devices
from ostiary.storage import codes, sessions
from ostiary.storage.store import Tx


def device_code(asked: Asked, client: Client | None) -> Subject:
    """A device code, by the client that it was given to. What the question itself changes is committed first."""
    facts = of_people(client, DEVICE_CODE)
    text = asked.form.get("device_code")
    if text is None:
        raise invalid_request("device_code is missing.")
    polled = asked.database.write_on((), devices.poll, text.encode(), facts.id)
    if polled.step == "invalid_grant":
        raise Refused(OAuthError("invalid_grant", reason=polled.reason), UNKNOWN)
    if polled.step != "approved":
        raise OAuthError(polled.step)

    def redeem(tx: Tx, number: int) -> bool:
        return codes.use_device(tx, polled.access_id) and sessions.begin(tx, polled.session_id, number)

    verdict = standing_of(asked, polled.session_id)
    return first_tokens(asked, facts, verdict, polled.session_id, polled.audiences, redeem)
