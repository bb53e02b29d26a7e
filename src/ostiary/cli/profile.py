"""The profile: contexts in `config.toml`, each a service with the credential and the organization to use there.

It is a file that people write too, so what this program does not know in it stays as it is, comments included. It
may hold keys, so it is read only where nobody else can read it. No message repeats a value of it.
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
"""Names that `context add` takes; they need no quotes in any shell."""

MEMBERS: Final = (
    "url", "organization", "apiKey", "apiKeyFile", "clientId", "clientSecret", "project",
    "oktaOrgURL", "oktaAuthServer",
)  # fmt: skip
"""Members of a context that this program or its relatives read; all are text."""

FIRST_LINES: Final = "# Contexts of the command `ostiary`; it may hold keys, so keep it to yourself.\n"

_DEFAULT = re.compile(r"""(\s*["']?defaultContext["']?\s*=\s*)(?:"[^"]*"|'[^']*')(.*)""", re.DOTALL)


class ProfileError(click.ClickException):
    """The profile, or a file that it names, cannot be used as it is: exit 2, naming file and field."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Context:
    """A service as its user knows it, and how to be known there."""

    name: str
    url: str | None
    organization: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_file: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    """Of the configuration that comes with a client secret; another program may read them, so a key comes first."""

    @property
    def has_credential(self) -> bool:
        return self.has_key or self.client_secret is not None

    @property
    def has_key(self) -> bool:
        return self.api_key is not None or self.api_key_file is not None

    def client(self) -> tuple[str, str]:
        """The client's id and its secret. Raises ProfileError."""
        found = []
        for name, text in (("clientId", self.client_id), ("clientSecret", self.client_secret)):
            if text is None or not is_credential(text):
                raise ProfileError(
                    f"{profile_path()}: contexts.{self.name}.{name} is missing, or holds odd characters."
                )
            found.append(text)
        return found[0], found[1]

    def credential(self) -> str | None:
        """The key itself, from the profile or the file that it names. Raises ProfileError."""
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
                f"{profile_path()}: {field_name} holds no credential, but nothing, white space or odd characters."
            )
        return text


@dataclass(frozen=True, slots=True)
class Profile:
    """All contexts, in the order of the file, and the name of the one to use where none is chosen."""

    default: str | None
    contexts: dict[str, Context]

    def find(self, name: str) -> Context:
        """The context of that name. Raises ProfileError."""
        if name in self.contexts:
            return self.contexts[name]
        named = f"context {name}" if NAME.fullmatch(name) else "context of that name"
        raise ProfileError(f"There is no {named}.\n`ostiary context list` shows what there is.")

    def current(self) -> Context | None:
        """The default, if the file names one. Raises ProfileError if it is not there."""
        if self.default is None:
            return None
        if self.default not in self.contexts:
            raise ProfileError(
                f"{profile_path()}: defaultContext names a context that is not there.\n"
                "`ostiary context use NAME` chooses another."
            )
        return self.contexts[self.default]


def profile_path() -> Path:
    """`~/.config/ostiary/config.toml`, or where the system keeps such files."""
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
    """Whether the text can be sent as a credential at all."""
    return text != "" and text.isascii() and text.isprintable() and " " not in text


def read_key_file(path: Path) -> str:
    """A key from a file that nobody else can read. Raises ProfileError."""
    text = (read_private(path, f"{path}: the key file") or "").strip()
    if not is_credential(text):
        raise ProfileError(f"{path}: the key file does not exist, or holds no credential.")
    return text


def read_private(path: Path, what: str, shown: str | None = None) -> str | None:
    """The text of a plain file that only its owner can read; None if there is none. Raises ProfileError.

    `what` begins the sentence of an error; `shown` is the path as a shell may be given it.
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
            raise ProfileError(f"{what} is not a plain file.")
        if stat.S_IMODE(mode) & 0o077:
            raise ProfileError(f"{what} can be read by others.\nchmod 600 {shown or path}")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProfileError(f"{what} is not UTF-8 text.") from None
    finally:
        os.close(fd)


def put(context: Context) -> None:
    """Keep a context, in place of one of the same name; the first one becomes the default. Raises ProfileError."""
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
    """Forget a context; if it was the default, there is none any more. Raises ProfileError."""
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
        # The rest of the parser's words may repeat what stands there.
        where = re.search(r"\(at [a-z0-9, ]+\)", str(error))
        raise ProfileError(f"{path} is not TOML{f' {where[0]}' if where else ''}.") from None


def _context(name: str, members: Any) -> Context:
    path = f"contexts.{name}"
    if not isinstance(members, dict):
        raise ProfileError(f"{profile_path()}: {path} must be a table.")
    found = {member: _text(members, member, f"{path}.") for member in MEMBERS}
    if found["apiKey"] is not None and found["apiKeyFile"] is not None:
        raise ProfileError(f"{profile_path()}: {path} has apiKey and apiKeyFile; choose one.")
    return Context(
        name,
        *(
            found[member]
            for member in ("url", "organization", "apiKey", "apiKeyFile", "clientId", "clientSecret")
        ),
    )


def _text(members: dict[str, Any], name: str, path: str) -> str | None:
    value = members.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise ProfileError(f"{profile_path()}: {path}{name} must be text, and not empty.")
    return value


# Writing: line by line, so that all the rest of the file stays as its owner wrote it


def _rewrite(change: Callable[[dict[str, Any]], None], edit: Callable[[str], str]) -> None:
    """Edit the text; what comes out must read as the change of what it read as before. Raises ProfileError."""
    path = profile_path()
    text, wanted = _read()
    change(wanted)
    try:
        after = edit(text if text.endswith("\n") else f"{text or FIRST_LINES.rstrip()}\n")
        found = tomllib.loads(after)
    except ValueError:
        found = None
    if found is None or _filled(found) != _filled(wanted):
        raise ProfileError(f"{path} has a form that this command does not change; edit it by hand.")
    write_private(path, after)


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if (name, value) != ("contexts", {})}


def write_private(path: Path, text: str) -> None:
    """Replace a file, all or nothing, and for its owner's eyes only. A link is replaced, not followed. ProfileError."""
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
    """The text without the tables of a context. Comments right above the next table are that table's."""
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
    """The text with this `defaultContext`, or none, above the first table."""
    lines = text.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if _header(line)), len(lines))
    for i in range(end):
        found = _DEFAULT.fullmatch(lines[i])
        if found is not None:
            line = [] if name is None else [f"{found[1]}{_quoted(name)}{found[2]}"]
            return "".join(lines[:i] + line + lines[i + 1 :])
    while end and lines[end - 1].strip()[:1] in {"", "#"} and end < len(lines):
        end -= 1  # above the comments of the first table
    line = [] if name is None else [f"defaultContext = {_quoted(name)}\n"]
    return "".join([*lines[:end], *line, *(["\n"] if end < len(lines) else []), *lines[end:]])


def _header(line: str) -> tuple[str, ...]:
    """The name of the table that begins in this line, part by part; empty if none does."""
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
    """TOML's basic strings are JSON's, but for characters that no member here has."""
    return json.dumps(text, ensure_ascii=False)


def _quoted_name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)
