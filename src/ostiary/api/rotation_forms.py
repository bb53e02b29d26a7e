"""Request and response bodies for the rotation of a credential."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from ostiary.api.forms import Duration, Expiry, Time
from ostiary.api.route import StrictModel, example
from ostiary.core.instant import Instant, duration_from_text, from_text, text_or_none, to_text
from ostiary.core.model import Generation, shown
from ostiary.services.rotation import Reason, Rotation, State


class RotateBody(StrictModel):
    """How to rotate a credential. Every field is optional."""

    model_config = example({"overlap": "24h"})

    overlap: Annotated[
        Duration | None,
        Field(
            description="How long the old secret is accepted, up to 30d. Null: until the "
            "rotation is completed."
        ),
    ] = None
    expires_at: Annotated[
        Expiry | None, Field(description="A new expiry for the credential. Null: the expiry does not change.")
    ] = None

    def length(self) -> int | None:
        """Return the overlap in microseconds, or None if it lasts until the rotation is completed."""
        return None if self.overlap is None else duration_from_text(self.overlap)

    def expiry(self) -> Instant | None:
        return None if self.expires_at is None else from_text(self.expires_at)


class RotationBody(StrictModel):
    """How to end a rotation: end the old secret (complete), or the new one (cancel)."""

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
    """The status of a credential's last rotation. `old` and `new` are null if there was none."""

    credential: str
    state: State
    old: GenerationJson | None
    new: GenerationJson | None
    safe_to_revoke: bool
    """Whether there is no sign that the old secret is still in use."""
    reasons: list[Reason]
    """Why the old secret is not safe to revoke. Empty if it is safe."""


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
