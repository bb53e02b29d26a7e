"""Where to go after signing in or out: an address of ours that a form or a link names, and never another's."""

import re
from typing import Final

from ostiary.http.messages import MAX_TARGET

_PATH: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+/?|/")
_DOTS: Final = re.compile(r"/(\.|%2e){1,2}(/|$)", re.IGNORECASE)
# Slashes, and characters that are passed over, once somebody decodes them.
_HIDDEN: Final = re.compile(r"%(2f|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
_QUERY: Final = re.compile(r"[\x21-\x7e]*")


def local(text: str, otherwise: str) -> str:
    """The path and query, if it is one that every reader takes for an address on this host; `otherwise` if not."""
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
