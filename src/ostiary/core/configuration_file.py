"""The TOML configuration that comes with a client secret: named contexts, one of which is the default. See
docs/cli.md."""

import json
import re
from dataclasses import dataclass

EVERY_PROJECT = "*"
AUTHORIZATION_SERVER = "ostiary"
"""The path segment below `<url>/oauth2/` of the endpoints for clients that expect an Okta authorization server."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Context:
    """A service and a client of it. `organization` is a slug, `project` a code or `*`."""

    name: str
    client_id: str
    organization: str
    project: str
    url: str
    issuer: str
    """`iss` of the service's tokens. It may differ from `url`, where the service was reached."""


def configuration(context: Context, client_secret: str) -> str:
    """Return the file's text. It contains the secret in clear."""
    fields = {
        "clientId": context.client_id,
        "clientSecret": client_secret,
        "organization": context.organization,
        "project": context.project,
        "url": context.url,
        "oktaOrgURL": context.issuer,
        "oktaAuthServer": AUTHORIZATION_SERVER,
    }
    name = context.name if _BARE_KEY.fullmatch(context.name) else toml_string(context.name)
    lines = [f"defaultContext = {toml_string(context.name)}", "", f"[contexts.{name}]"]
    lines += [f"{key} = {toml_string(value)}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def toml_string(text: str) -> str:
    """Return a basic string (TOML 1.0). JSON's encoding fits, except for DEL and for surrogate pairs, which TOML does
    not have."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
