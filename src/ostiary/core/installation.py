"""What holds for the whole installation and never changes while it runs; services read it from `tx.installation`."""

from dataclasses import dataclass, field

from ostiary.core.keyring import Keyring
from ostiary.core.permission import Policy


@dataclass(frozen=True, slots=True)
class Installation:
    """`channel_host` is the host part of channel identifiers, fixed at `init`. `key_prefixes` has every prefix
    that was ever used, the one for new keys first, each as it is sent (`ak-`)."""

    keyring: Keyring
    key_prefixes: tuple[str, ...] = ("ak-",)
    channel_host: str = "localhost"
    issuer: str = "http://localhost:8080"
    """The public URL without a slash at its end: `iss` and the usual `aud` of tokens."""
    policy: Policy = field(default_factory=Policy)
