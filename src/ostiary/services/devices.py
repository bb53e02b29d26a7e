"""Device authorization (RFC 8628): a device asks, a person decides in a browser, the device polls for the result.

Only the first person who enters a user code may decide. A refusal that must be stored is returned, not raised, because
an exception rolls the transaction back.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from ostiary.core import secret, user_code
from ostiary.core.event import Target
from ostiary.core.instant import SECOND
from ostiary.core.model import OAuthClient
from ostiary.core.oauth import DEVICE_CODE_LIFETIME, POLLING_INTERVAL
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.core.secret import DEVICE_CODE, Secret
from ostiary.services import audit, consents, issuance, sessions
from ostiary.services.audit import change
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.storage import codes
from ostiary.storage import sessions as rows
from ostiary.storage.codes import DeviceCode
from ostiary.storage.store import Tx

SLOW_DOWN_SECONDS: Final = 5
"""Seconds added to the polling interval, permanently, each time a device polls too early (RFC 8628 §3.5)."""
PREFIXES: Final = (DEVICE_CODE.encode(),)

Refusal = Literal["unknown", "expired", "decided", "entered by somebody else"]
"""Why a user code is refused, for the audit log. The person sees the same message for all of them."""
Step = Literal[
    "approved", "authorization_pending", "slow_down", "access_denied", "expired_token", "invalid_grant"
]


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A device authorization request."""

    client_id: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    """Empty means this service."""
    address: str | None
    user_agent: str


@dataclass(frozen=True, slots=True)
class IssuedDeviceCode:
    """The codes that the device receives, once."""

    device_code: Secret
    user_code: str
    """In the form that people read, with a hyphen."""


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of one poll. The session, scopes and audiences are set if the step is `approved`."""

    step: Step
    access_id: str = ""
    session_id: str = ""
    scopes: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    reason: str = ""


def begin(tx: Tx, asked: DeviceRequest) -> IssuedDeviceCode:
    """Store a device authorization request and return its codes. The write serializes on no organization."""
    keyring = tx.installation.keyring
    code = user_code.make(tx.entropy(user_code.ENTROPY))
    while codes.find_device_by_user_code(tx, _digests(tx, code)) is not None:
        code = user_code.make(tx.entropy(user_code.ENTROPY))
    new = issuance.new_secret(tx, DEVICE_CODE)
    codes.insert_device(
        tx,
        DeviceCode(
            access_id=new.access_id,
            digest=new.digest,
            pepper_id=new.pepper_id,
            user_digest=user_code.digest(code, keyring.peppers[keyring.newest]),
            client_id=asked.client_id,
            scopes=asked.scopes,
            audiences=asked.audiences,
            interval=POLLING_INTERVAL,
            polled_at=None,
            address=asked.address,
            user_agent=asked.user_agent,
            created_at=tx.now,
            expires_at=tx.now + DEVICE_CODE_LIFETIME,
        ),
    )
    return IssuedDeviceCode(new.secret, user_code.formatted(code))


def claim(tx: Tx, caller: Caller, code: str, claimed: bool = False) -> DeviceCode | Refusal:
    """Reserve the decision about a device for this person, and return the device's request.

    `code` is a user code as `user_code.read` returns it. With `claimed`, the person must have entered the code before.
    Otherwise returns the reason, and records the refusal.
    """
    found = _find(tx, caller, code, claimed)
    if not isinstance(found, DeviceCode):
        return _refused(tx, caller, found)
    if not codes.claim_device(tx, found.access_id, str(caller.actor.id)):
        return _refused(tx, caller, "entered by somebody else")
    return found


def deny(tx: Tx, caller: Caller, code: str) -> bool:
    """Deny the device's request. Return whether this person could decide; if not, the refusal is recorded."""
    found = _find(tx, caller, code, claimed=True)
    if isinstance(found, DeviceCode) and not codes.decide_device(
        tx, found.access_id, str(caller.actor.id), None
    ):
        found = "decided"
    if not isinstance(found, DeviceCode):
        _refused(tx, caller, found)
        return False
    target = Target("client", found.client_id, found.client_id)
    change(tx, caller, "device.denied", target, address=found.address)
    return True


def approve(tx: Tx, caller: Caller, code: str, client: OAuthClient, organization_id: str) -> bool:
    """Consent to the device's request, in this organization. Return whether this person could; if not, record it.

    The write must serialize on the organization. Raises what `consents.give` raises, and wrong-state if another request
    decided about the code at the same time.
    """
    found = _find(tx, caller, code, claimed=True)
    if isinstance(found, DeviceCode) and found.client_id != client.id:
        found = "unknown"
    if not isinstance(found, DeviceCode):
        _refused(tx, caller, found)
        return False
    given = consents.give(
        tx,
        caller,
        consents.ConsentRequest(
            client,
            organization_id,
            found.scopes,
            audiences=found.audiences,
            kind="device",
            address=found.address,
            user_agent=found.user_agent,
        ),
    )
    if not codes.decide_device(tx, found.access_id, str(caller.actor.id), given.session_id):
        raise Problem("wrong-state", "The code is no longer valid.", reason="decided meanwhile")
    return True


def _find(tx: Tx, caller: Caller, code: str, claimed: bool = False) -> DeviceCode | Refusal:
    """Return the code if this person may decide about it, else the reason.

    The person may decide if they entered the code first. Unless `claimed`, also if nobody has entered it yet.
    """
    found = codes.find_device_by_user_code(tx, _digests(tx, code))
    if found is None:
        return "unknown"
    if found.claimed_by != caller.actor.id and (claimed or found.claimed_by is not None):
        return "entered by somebody else"
    if found.expires_at <= tx.now:
        return "expired"
    if found.session_id is not None or found.denied_at is not None:
        return "decided"
    return found


def _refused(tx: Tx, caller: Caller, because: Refusal) -> Refusal:
    event = audit.event_of(caller, "device.refused", None, "refused", because)
    tx.record(event, caller.organization_id)
    return because


def _digests(tx: Tx, code: str) -> list[bytes]:
    return [user_code.digest(code, pepper) for pepper in tx.installation.keyring.peppers.values()]


# Polling by the device


def poll(tx: Tx, presented: bytes, client_id: str) -> PollResult:
    """Return the state of a device's request (RFC 8628 §3.5). The write serializes on no organization.

    A device code that is presented again after its use has leaked, so its session ends (RFC 6749 §4.1.2).
    """
    found = _proven(tx, presented)
    if found is None or found.client_id != client_id:
        return PollResult("invalid_grant", reason="unknown" if found is None else "of another client")
    if found.used_at is not None:
        _end(tx, str(found.session_id))
        return PollResult("invalid_grant", found.access_id, reason="used before")
    if found.expires_at <= tx.now:
        return PollResult("expired_token", found.access_id)
    if found.denied_at is not None:
        return PollResult("access_denied", found.access_id)
    if found.session_id is not None:
        return PollResult("approved", found.access_id, found.session_id, found.scopes, found.audiences)
    early = found.polled_at is not None and tx.now < found.polled_at + found.interval * SECOND
    interval = found.interval + SLOW_DOWN_SECONDS if early else found.interval
    codes.update_device(tx, found.access_id, {"polled_at": tx.now, "interval": interval})
    return PollResult("slow_down" if early else "authorization_pending", found.access_id)


def _proven(tx: Tx, presented: bytes) -> DeviceCode | None:
    """Return the request of a valid device code, else None. The access id in the code is public; the rest is secret."""
    public = secret.parse(presented, PREFIXES)
    found = None if public is None else codes.find_device(tx, public)
    pepper = None if found is None else tx.installation.keyring.peppers.get(found.pepper_id)
    if found is None or pepper is None or not secret.matches(secret.digest(presented, pepper), found.digest):
        return None
    return found


def _end(tx: Tx, session_id: str) -> None:
    """End the session of a device code, as the system: who presented the code again is unknown."""
    organization_id = rows.organization_of(tx, session_id)
    if organization_id is not None:
        caller = replace(SYSTEM_CALLER, organization_id=organization_id)
        sessions.end(tx, caller, session_id, "its code was used again")
