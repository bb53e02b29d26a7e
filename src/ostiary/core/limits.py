"""How many of each thing there may be, where no policy says so: fixed, and far above what people need.

Without a limit, one credential that leaked could fill the database. `check` is called in the transaction that inserts.
"""

from collections.abc import Mapping
from typing import Final

from ostiary.core.problem import Problem

MOST: Final[Mapping[str, int]] = {
    # Of an organization.
    "service_accounts": 10_000,
    "projects": 1_000,
    "members": 10_000,
    "invitations": 1_000,
    "roles": 200,
    "clients": 100,
    # Of a user or service account, in an organization.
    "role_bindings": 50,
    "consents": 200,
    "password_resets": 10,
    # Of a credential: its secrets of the last 30 days.
    "rotations": 1_000,
    # Of the installation.
    # The scopes with a space between two: so that a token with all of them has at most 8 KiB, and so that proxies take
    # the header that lists them.
    "catalogue_characters": 4_096,
    "access_rules": 1_000,
    "import_prefixes": 50,
}
"""Invitations, consents and links count while they can be used; what was deleted does not count."""


def check(limit: str, count: int, more: int = 1) -> None:
    """Raise limit-reached if `more` things beside the `count` that exist would exceed the limit of this name."""
    value = MOST[limit]
    if count + more > value:
        raise Problem(
            "limit-reached",
            f"There may be {value} {limit.replace('_', ' ')}, and {count} exist. Delete those that are no longer "
            "needed, or wait until they expire.",
            members={"limit": limit, "value": value, "count": count},
            reason=f"{limit} reached",
        )
