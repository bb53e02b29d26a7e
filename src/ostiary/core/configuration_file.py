"""The configuration in TOML that comes with a client secret: contexts, one of which is the default; docs/cli.md."""

import json
import re
from dataclasses import dataclass

EVERY_PROJECT = "*"
AUTHORIZATION_SERVER = "ostiary"
"""Below `<url>/oauth2/` the addresses for clients that call it an Okta authorization server."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Context:
    """A service, a client there, and where it works. `organization` is a slug, `project` a code or `*`."""

    name: str
    client_id: str
    organization: str
    project: str
    url: str
    issuer: str
    """Where the service says it is, which may not be where it was reached: `iss` in its tokens."""


def configuration(context: Context, client_secret: str) -> str:
    """The file's text. The secret is in it in clear."""
    members = {
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
    lines += [f"{member} = {toml_string(value)}" for member, value in members.items()]
    return "\n".join(lines) + "\n"


def toml_string(text: str) -> str:
    """A basic string (TOML 1.0): that of JSON, but for DEL, and for pairs of surrogates, which TOML does not have."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
