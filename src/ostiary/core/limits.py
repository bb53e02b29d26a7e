"""Fixed limits on the number of objects that no policy limits. They are far above normal use.

Without them, one leaked credential could fill the database. Call `check` in the transaction that inserts.
"""

from collections.abc import Mapping
from typing import Final

from ostiary.core.problem import Problem

LIMITS: Final[Mapping[str, int]] = {
    # Per organization.
    "service_accounts": 10_000,
    "projects": 1_000,
    "members": 10_000,
    "invitations": 1_000,
    "roles": 200,
    "clients": 100,
    # Per user or service account in an organization.
    "role_bindings": 50,
    "consents": 200,
    "password_resets": 10,
    # Per credential: its secrets of the last 30 days.
    "rotations": 1_000,
    # Per installation.
    # The length of all scopes, separated by spaces. A token with all of them stays below 8 KiB, and proxies accept
    # the header that lists them.
    "catalogue_characters": 4_096,
    "access_rules": 1_000,
    "import_prefixes": 50,
}
"""Invitations, consents and links count while they can be used. Deleted objects do not count."""


def check(limit: str, count: int, more: int = 1) -> None:
    """Raise limit-reached if `count` existing objects and `more` new ones exceed the limit of this name."""
    value = LIMITS[limit]
    if count + more > value:
        raise Problem(
            "limit-reached",
            f"The limit of {value} {limit.replace('_', ' ')} is reached: {count} exist. Delete those that are no longer "
            "needed, or wait until they expire.",
            members={"limit": limit, "value": value, "count": count},
            reason=f"{limit} reached",
        )
