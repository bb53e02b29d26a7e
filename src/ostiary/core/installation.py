"""Facts about the whole installation. They do not change while it runs; services read them from `tx.installation`."""

from dataclasses import dataclass, field

from ostiary.core.keyring import Keyring
from ostiary.core.permission import Policy


@dataclass(frozen=True, slots=True)
class Installation:
    """Keys, key prefixes, names and default policy of the installation.

    `channel_host` is the host part of channel identifiers, fixed at `init`. `key_prefixes` lists every prefix ever
    used, as it appears in keys (`ak-`). The first one is used for new keys.
    """

    keyring: Keyring
    key_prefixes: tuple[str, ...] = ("ak-",)
    channel_host: str = "localhost"
    issuer: str = "http://localhost:8080"
    """The public URL without a trailing slash. It is `iss` and the default `aud` of tokens."""
    policy: Policy = field(default_factory=Policy)
