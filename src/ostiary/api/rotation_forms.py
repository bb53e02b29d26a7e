"""Request bodies and answers of a credential's rotation."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from ostiary.api.forms import Duration, Expiry, Time
from ostiary.api.route import StrictModel, example
from ostiary.core.instant import Instant, duration_from_text, from_text, text_or_none, to_text
from ostiary.core.model import Generation, shown
from ostiary.services.rotation import Reason, Rotation, State


class RotateBody(StrictModel):
    """How a credential is rotated; every member may be left out."""

    model_config = example({"overlap": "24h"})

    overlap: Annotated[
        Duration | None,
        Field(description="How long the old secret is accepted, up to 30d. Null: until completed."),
    ] = None
    expires_at: Annotated[
        Expiry | None, Field(description="Moves the credential's expiry. Null: it stays.")
    ] = None

    def length(self) -> int | None:
        """The overlap in microseconds; None: until completed."""
        return None if self.overlap is None else duration_from_text(self.overlap)

    def expiry(self) -> Instant | None:
        return None if self.expires_at is None else from_text(self.expires_at)


class RotationBody(StrictModel):
    """How a rotation ends: without the old secret, or without the new one."""

    model_config = example({"action": "complete"})

    action: Literal["complete", "cancel"]


class GenerationJson(TypedDict):
    """One secret of a credential, and its use so far."""

    generation: int
    display: str
    access_id: str
    last6: str | None
    created_at: Time
    superseded_at: Time | None
    ends_at: Time | None
    ended_at: Time | None
    last_used_at: Time | None
    uses: int


class RotationJson(TypedDict):
    """How the last rotation of a credential stands. `old` and `new` are null before the first."""

    credential: str
    state: State
    old: GenerationJson | None
    new: GenerationJson | None
    safe_to_revoke: bool
    """Whether nothing speaks for another use of the old secret."""
    reasons: list[Reason]
    """Why not; empty if it is."""


def rotation_json(rotation: Rotation) -> RotationJson:
    return {
        "credential": rotation.credential.id,
        "state": rotation.state,
        "old": None if rotation.old is None else _generation_json(rotation.old),
        "new": None if rotation.new is None else _generation_json(rotation.new),
        "safe_to_revoke": not rotation.reasons,
        "reasons": list(rotation.reasons),
    }


def _generation_json(generation: Generation) -> GenerationJson:
    return {
        "generation": generation.number,
        "display": shown(generation.prefix, generation.access_id, generation.last6),
        "access_id": generation.access_id,
        "last6": generation.last6 or None,
        "created_at": to_text(generation.created_at),
        "superseded_at": text_or_none(generation.superseded_at),
        "ends_at": text_or_none(generation.ends_at),
        "ended_at": text_or_none(generation.ended_at),
        "last_used_at": text_or_none(generation.last_used_at),
        "uses": generation.uses,
    }
