"""The links with which people accept an invitation or choose a new password. Each link contains a token."""

from typing import Final

from ostiary.core.secret import Secret

INVITATION: Final = "/invitations/accept"
RESET: Final = "/password/reset"


def invitation_link(issuer: str, token: Secret) -> str:
    """Return the link that accepts an invitation."""
    return f"{issuer}{INVITATION}?invitation={token.reveal()}"


def reset_link(issuer: str, token: Secret) -> str:
    """Return the link to choose a new password."""
    return f"{issuer}{RESET}?reset={token.reveal()}"
