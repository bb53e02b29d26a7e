"""The manual at `/docs`: the Markdown files of `docs/` and the API reference, as HTML pages."""

from typing import Final

ROOT: Final = "/docs"
