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
    policy: Policy = field(default_factory=Policy)
