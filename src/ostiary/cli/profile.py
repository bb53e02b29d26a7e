"""The profile: contexts in `config.toml`, each with a service, a credential and an organization.

People edit this file, too. So fields that this program does not know stay as they are, comments included. The file may
contain keys. So it is refused if other users can read it, and no message repeats a value from it.
"""

import errno
import json
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names that `context add` accepts. They need no quotes in any shell."""

MEMBERS: Final = (
    "url", "organization", "apiKey", "apiKeyFile", "clientId", "clientSecret", "project",
    "oktaOrgURL", "oktaAuthServer",
)  # fmt: skip
"""Fields of a context that this program or related programs read. All are strings."""

FIRST_LINES: Final = "# Contexts of the command `ostiary`. This file may contain keys: keep it private.\n"

_DEFAULT = re.compile(r"""(\s*["']?defaultContext["']?\s*=\s*)(?:"[^"]*"|'[^']*')(.*)""", re.DOTALL)


class ProfileError(click.ClickException):
    """The profile, or a file that it names, cannot be used. Exits with 2. The message names file and field."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class ProfileContext:
    """A named service, with the credential and organization to use there."""

    name: str
    url: str | None
    organization: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_file: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    """From the configuration file of a client secret. Other programs read these, so an API key takes precedence."""

    @property
    def has_credential(self) -> bool:
        return self.has_key or self.client_secret is not None

    @property
    def has_key(self) -> bool:
        return self.api_key is not None or self.api_key_file is not None

    def client(self) -> tuple[str, str]:
        """Return the client id and the client secret. Raises ProfileError."""
        found = []
        for name, text in (("clientId", self.client_id), ("clientSecret", self.client_secret)):
            if text is None or not is_credential(text):
                raise ProfileError(
                    f"{profile_path()}: contexts.{self.name}.{name} is missing or has invalid characters."
                )
            found.append(text)
        return found[0], found[1]

    def credential(self) -> str | None:
        """Return the API key, from the profile or the file that it names; None if it has none. Raises ProfileError."""
        field_name, text = f"contexts.{self.name}.apiKey", self.api_key
        if self.api_key_file is not None:
            field_name += "File"
            path = profile_path().parent / Path(self.api_key_file).expanduser()
            text = read_private(path, f"{path}: the file of {field_name}")
            if text is None:
                raise ProfileError(f"{profile_path()}: {field_name} names a file that does not exist.")
        if text is None:
            return None
        text = text.strip()
        if not is_credential(text):
            raise ProfileError(
                f"{profile_path()}: {field_name} is not a credential: it is empty, or has white space or invalid "
                "characters."
            )
        return text


@dataclass(frozen=True, slots=True)
class Profile:
    """All contexts, in the order of the file, and the name of the default context."""

    default: str | None
    contexts: dict[str, ProfileContext]

    def find(self, name: str) -> ProfileContext:
        """Return the context with this name. Raises ProfileError."""
        if name in self.contexts:
            return self.contexts[name]
        named = f"context {name}" if NAME.fullmatch(name) else "context with that name"
        raise ProfileError(f"There is no {named}.\n`ostiary context list` shows the contexts.")

    def current(self) -> ProfileContext | None:
        """Return the default context, or None if the file names none. Raises ProfileError if it does not exist."""
        if self.default is None:
            return None
        if self.default not in self.contexts:
            raise ProfileError(
                f"{profile_path()}: defaultContext names a context that does not exist.\n"
                "`ostiary context use NAME` chooses another."
            )
        return self.contexts[self.default]


def profile_path() -> Path:
    """Return `~/.config/ostiary/config.toml`, or the platform's own path for such files."""
    from platformdirs import user_config_path

    return user_config_path("ostiary") / "config.toml"


def load() -> Profile:
    """Read the profile; an empty one if there is no file. Raises ProfileError."""
    _, document = _read()
    default = _text(document, "defaultContext", "")
    contexts = document.get("contexts", {})
    if not isinstance(contexts, dict):
        raise ProfileError(f"{profile_path()}: contexts must be a table.")
    return Profile(default, {name: _context(name, members) for name, members in contexts.items()})


def is_credential(text: str) -> bool:
    """Return whether the text can be sent as a credential: printable ASCII without spaces, not empty."""
    return text != "" and text.isascii() and text.isprintable() and " " not in text


def read_key_file(path: Path) -> str:
    """Return the key in a file that only its owner can read. Raises ProfileError."""
    text = (read_private(path, f"{path}: the key file") or "").strip()
    if not is_credential(text):
        raise ProfileError(f"{path}: the key file does not exist or does not contain a credential.")
    return text


def read_private(path: Path, what: str, shown: str | None = None) -> str | None:
    """Return the text of a regular file that only its owner can read; None if it does not exist.

    `what` begins error messages. `shown` replaces the path in the suggested chmod command. Raises ProfileError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise ProfileError(f"{what} {reason}.") from None
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise ProfileError(f"{what} is not a regular file.")
        if stat.S_IMODE(mode) & 0o077:
            raise ProfileError(f"{what} can be read by others.\nchmod 600 {shown or path}")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProfileError(f"{what} is not UTF-8 text.") from None
    finally:
        os.close(fd)


def put(context: ProfileContext) -> None:
    """Store a context. It replaces one with the same name. The first becomes the default. Raises ProfileError."""
    members = {
        "url": context.url,
        "organization": context.organization,
        "apiKey": context.api_key,
        "apiKeyFile": context.api_key_file,
    }
    given = {name: value for name, value in members.items() if value is not None}

    def change(document: dict[str, Any]) -> None:
        document.setdefault("contexts", {})[context.name] = given
        document.setdefault("defaultContext", context.name)

    def edit(text: str) -> str:
        block = "".join(f"{name} = {_quoted(value)}\n" for name, value in given.items())
        if context.name in tomllib.loads(text).get("contexts", {}):
            text = _without(text, context.name)
        if "defaultContext" not in tomllib.loads(text):
            text = _with_default(text, context.name)
        return f"{text.rstrip()}\n\n[contexts.{_quoted_name(context.name)}]\n{block}"

    _rewrite(change, edit)


def choose(name: str) -> None:
    """Make a context the default. Raises ProfileError."""
    load().find(name)
    _rewrite(lambda document: document.update(defaultContext=name), lambda text: _with_default(text, name))


def remove(name: str) -> None:
    """Remove a context. If it was the default, there is no default afterwards. Raises ProfileError."""
    load().find(name)

    def change(document: dict[str, Any]) -> None:
        del document["contexts"][name]
        if document.get("defaultContext") == name:
            del document["defaultContext"]

    def edit(text: str) -> str:
        text = _without(text, name)
        return _with_default(text, None) if tomllib.loads(text).get("defaultContext") == name else text

    _rewrite(change, edit)


# Reading


def _read() -> tuple[str, dict[str, Any]]:
    path = profile_path()
    text = read_private(path, f"{path}: the profile") or ""
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Only the position is repeated: the rest of the parser's message may contain values.
        where = re.search(r"\(at [a-z0-9, ]+\)", str(error))
        raise ProfileError(f"{path} is not TOML{f' {where[0]}' if where else ''}.") from None


def _context(name: str, members: Any) -> ProfileContext:
    path = f"contexts.{name}"
    if not isinstance(members, dict):
        raise ProfileError(f"{profile_path()}: {path} must be a table.")
    found = {member: _text(members, member, f"{path}.") for member in MEMBERS}
    if found["apiKey"] is not None and found["apiKeyFile"] is not None:
        raise ProfileError(f"{profile_path()}: {path} has apiKey and apiKeyFile; choose one.")
    return ProfileContext(
        name,
        *(
            found[member]
            for member in ("url", "organization", "apiKey", "apiKeyFile", "clientId", "clientSecret")
        ),
    )


def _text(members: dict[str, Any], name: str, path: str) -> str | None:
    value = members.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise ProfileError(f"{profile_path()}: {path}{name} must be a string that is not empty.")
    return value


# Writing: edits lines of the text, so that the rest of the file stays as its owner wrote it


def _rewrite(change: Callable[[dict[str, Any]], None], edit: Callable[[str], str]) -> None:
    """Apply `edit` to the text, and write the result if it parses to the same as `change` makes of the document.

    Otherwise raises ProfileError and changes nothing.
    """
    path = profile_path()
    text, wanted = _read()
    change(wanted)
    try:
        after = edit(text if text.endswith("\n") else f"{text or FIRST_LINES.rstrip()}\n")
        found = tomllib.loads(after)
    except ValueError:
        found = None
    if found is None or _filled(found) != _filled(wanted):
        raise ProfileError(f"{path} has a form that this command cannot change. Edit it by hand.")
    write_private(path, after)


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if (name, value) != ("contexts", {})}


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, with mode 0600. A symbolic link is replaced, not followed. Raises ProfileError."""
    part: str | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        Path(part).replace(path)
        part = None
    except OSError as error:
        raise ProfileError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        if part is not None:
            Path(part).unlink()


def _without(text: str, name: str) -> str:
    """Return the text without the tables of a context. Comments directly above the next table stay with that table."""
    kept: list[str] = []
    dropped: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        header = _header(line)
        if header:
            inside = header[:2] == ("contexts", name)
            if not inside:
                end = len(dropped)
                while end and dropped[end - 1].strip()[:1] in {"", "#"}:
                    end -= 1
                kept += dropped[end:]
                dropped.clear()
        (dropped if inside else kept).append(line)
    return "".join(kept)


def _with_default(text: str, name: str | None) -> str:
    """Return the text with this `defaultContext` above the first table, or without any if `name` is None."""
    lines = text.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if _header(line)), len(lines))
    for i in range(end):
        found = _DEFAULT.fullmatch(lines[i])
        if found is not None:
            line = [] if name is None else [f"{found[1]}{_quoted(name)}{found[2]}"]
            return "".join(lines[:i] + line + lines[i + 1 :])
    while end and lines[end - 1].strip()[:1] in {"", "#"} and end < len(lines):
        end -= 1  # insert above the comments of the first table
    line = [] if name is None else [f"defaultContext = {_quoted(name)}\n"]
    return "".join([*lines[:end], *line, *(["\n"] if end < len(lines) else []), *lines[end:]])


def _header(line: str) -> tuple[str, ...]:
    """Return the parts of the name of the table that begins in this line; empty if none does."""
    if not line.lstrip().startswith("["):
        return ()
    try:
        found: Any = tomllib.loads(line)
    except ValueError:
        return ()
    parts = []
    while isinstance(found, dict) and found:
        part, found = next(iter(found.items()))
        parts.append(part)
    return tuple(parts)


def _quoted(text: str) -> str:
    """Return a TOML string. It equals a JSON string, except for characters that no field here contains."""
    return json.dumps(text, ensure_ascii=False)


def _quoted_name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)
