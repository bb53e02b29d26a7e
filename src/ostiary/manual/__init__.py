"""The manual that the service serves at `/docs`: the Markdown of `docs/` and the reference of the API, as pages."""

from typing import Final

ROOT: Final = "/docs"
