"""Checks the `next` parameter, which names the page to open after signing in or out. Only local URLs are accepted."""

import re
from typing import Final

from ostiary.http.messages import MAX_TARGET

_PATH: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+/?|/")
_DOTS: Final = re.compile(r"/(\.|%2e){1,2}(/|$)", re.IGNORECASE)
# Encoded slashes, and encoded control characters, which some parsers skip.
_HIDDEN: Final = re.compile(r"%(2f|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
_QUERY: Final = re.compile(r"[\x21-\x7e]*")


def local(text: str, otherwise: str) -> str:
    """Return `text` if every URL parser reads it as a path and query on this host; else `otherwise`."""
    path, mark, query = text.partition("?")
    good = (
        len(text) <= MAX_TARGET
        and _PATH.fullmatch(path) is not None
        and _DOTS.search(path) is None
        and _HIDDEN.search(path) is None
        and _QUERY.fullmatch(query) is not None
        and not set(query) & set('\\#"<>')
    )
    return path + mark + query if good else otherwise
