"""B9, Files: the profile must be private, is replaced as a whole, and keeps all unknown content."""

import os
import tomllib
from pathlib import Path

import pytest

from ostiary.cli import profile
from ostiary.cli.main import run
from ostiary.cli.profile import ProfileContext, ProfileError

KEY = "ak-1234567890abcdef1234567890abcdefABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqr"
"""A key with a valid form that belongs to nobody."""

WRITTEN = """\
# mine
defaultContext = "old"  # for now

# the old one
[contexts.old] # kept
url = "https://old.example" # kept, too
apiKey = "ak-old"
clientSecret = "secret_x"
odd = {a = 1}

[contexts.old.deep]
x = [
  1,
]

# of something else
[other]
a = 1

[contexts."b.c"]
url = 'https://b.example'
"""


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_what_is_not_ours_stays_as_it_was_written(config: Path) -> None:
    """Files break: a change of the profile loses an unrelated comment, field or context."""
    _write(config, WRITTEN)
    profile.put(ProfileContext("new", "https://new.example", api_key="ak-new"))
    assert (
        config.read_text() == f'{WRITTEN}\n[contexts.new]\nurl = "https://new.example"\napiKey = "ak-new"\n'
    )
    profile.choose("new")
    assert config.read_text().startswith(
        '# mine\ndefaultContext = "new"  # for now\n\n# the old one\n[contexts.old] # kept\n'
    )
    profile.remove("old")
    assert config.read_text().startswith(
        '# mine\ndefaultContext = "new"  # for now\n\n# the old one\n\n# of something else\n'
    )
    profile.remove("b.c")
    assert list(tomllib.loads(config.read_text())["contexts"]) == ["new"]
    profile.put(ProfileContext("new", "https://newer.example", "org_x", api_key_file="/k"))
    assert tomllib.loads(config.read_text()) == {
        "defaultContext": "new",
        "other": {"a": 1},
        "contexts": {"new": {"url": "https://newer.example", "organization": "org_x", "apiKeyFile": "/k"}},
    }
    profile.remove("new")
    assert tomllib.loads(config.read_text()) == {"other": {"a": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but this",
        "[other]\na = 1",
        "# about other\n[other]\na = 1\n",
        "[contexts]\n",
        "x = [\n  [1],\n]\r\n",
    ],
)
def test_the_first_context_becomes_the_default(config: Path, text: str) -> None:
    """Files break: a profile in another form loses its text, or the first context is not used."""
    if text:
        _write(config, text)
    before = tomllib.loads(text)
    profile.put(ProfileContext("new", "https://new.example"))
    found = tomllib.loads(config.read_text())
    assert found.pop("contexts") == {"new": {"url": "https://new.example"}}
    assert found.pop("defaultContext") == "new"
    before.pop("contexts", None)
    assert found == before


@pytest.mark.parametrize(
    "text",
    [
        "contexts = {a = {url = 'https://a.example'}}\n",
        "contexts.a.url = 'https://a.example'\n",
        "x = '''\n[contexts.a]\n'''\n[contexts]\na = {url = 'https://a.example'}\n",
    ],
)
def test_a_form_that_cannot_be_edited_is_left_alone(config: Path, text: str) -> None:
    """B9 breaks: a command damages a profile that it cannot edit."""
    _write(config, text)
    assert profile.load().find("a").url == "https://a.example"
    with pytest.raises(ProfileError, match="Edit it by hand"):
        profile.remove("a")
    assert config.read_text() == text


@pytest.mark.promise("P7")
def test_the_profile_is_for_its_owner_only_and_never_half(config: Path) -> None:
    """P7, B9 break: others can read the profile, or a failed write leaves half of it."""
    config.parent.rmdir()
    umask = os.umask(0)
    try:
        profile.put(ProfileContext("new", "https://new.example", api_key=KEY))
    finally:
        os.umask(umask)
    assert (config.parent.stat().st_mode & 0o777, config.stat().st_mode & 0o777) == (0o700, 0o600)
    assert [each.name for each in config.parent.iterdir()] == ["config.toml"]
    before = config.read_bytes()
    with pytest.raises((ProfileError, UnicodeEncodeError)):
        profile.put(ProfileContext("half", "https://\ud800.example"))
    assert config.read_bytes() == before
    assert [each.name for each in config.parent.iterdir()] == ["config.toml"]


def test_a_closed_directory_is_said(config: Path) -> None:
    """B9 breaks: a profile that cannot be written is a traceback."""
    config.parent.rmdir()
    config.parent.write_text("a file stands where the directory would be")
    with pytest.raises(ProfileError, match="cannot be written"):
        profile.put(ProfileContext("new", "https://new.example"))


SECRET = "Hunter2_hunter2"


@pytest.mark.parametrize(
    "text, said",
    [
        (f'contexts = "{SECRET}"', "contexts must be a table"),
        (f'contexts.prod = "{SECRET}"', "contexts.prod must be a table"),
        (f'defaultContext = ["{SECRET}"]', "defaultContext must be a string"),
        (f'contexts.prod.url = ["{SECRET}"]', "contexts.prod.url must be a string"),
        ("contexts.prod.url = ''", "contexts.prod.url must be a string that is not empty"),
        (f'contexts.prod.apiKey = {{a = "{SECRET}"}}', "contexts.prod.apiKey must be a string"),
        ("contexts.prod.apiKeyFile = 7", "contexts.prod.apiKeyFile must be a string"),
        ("contexts.prod.clientSecret = 7", "contexts.prod.clientSecret must be a string"),
        (f'contexts.prod = {{apiKey = "{SECRET}", apiKeyFile = "x"}}', "choose one"),
        (f"apiKey = {SECRET}", "is not TOML (at line 1, column 10)"),
        (f'defaultContext = "{SECRET}"', "defaultContext names a context that does not exist"),
        ('defaultContext = "a"\n[contexts.a]\napiKey = "x"', "contexts.a.url is missing"),
        (
            f'defaultContext = "a"\n[contexts.a]\nurl = "https://x"\napiKey = "{SECRET} {SECRET}"',
            "contexts.a.apiKey is not a credential",
        ),
        (
            f'defaultContext = "a"\n[contexts.a]\nurl = "https://u:{SECRET}@x"\napiKey = "x"',
            "contexts.a.url in",
        ),
        (
            f'defaultContext = "a"\n[contexts.a]\nurl = "https://x"\napiKey = "x"\norganization = "{SECRET}"',
            "contexts.a.organization in",
        ),
    ],
)
@pytest.mark.promise("P7")
def test_a_wrong_profile_is_told_by_file_and_field(
    config: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """P7, B9 break: an invalid field does not exit with 2, file and field, or its value is repeated."""
    _write(config, text)
    assert run(["whoami"]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert str(config) in shown.err
    assert "unter2" not in shown.err + shown.out


@pytest.mark.parametrize("kind", ["readable", "group", "link", "directory", "pipe", "bytes"])
@pytest.mark.parametrize("what", ["profile", "key"])
@pytest.mark.promise("P7")
def test_a_file_that_others_could_read_or_put_there_is_refused(
    config: Path, what: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """P7, B9 break: a profile or key file that others can read, a link or no file at all is used."""
    path = config if what == "profile" else tmp_path / "key"
    text = KEY
    if what == "profile":
        text = f'defaultContext = "a"\n[contexts.a]\nurl = "http://localhost:1"\napiKey = "{KEY}"\n'
    else:
        _write(
            config, f'defaultContext = "a"\n[contexts.a]\nurl = "http://localhost:1"\napiKeyFile = "{path}"\n'
        )
    if kind == "readable":
        _write(path, text, 0o604)
    elif kind == "group":
        _write(path, text, 0o640)
    elif kind == "link":
        _write(tmp_path / "elsewhere", text)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "directory":
        path.mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.write_bytes(b"\xff\xfe")
        path.chmod(0o600)
    assert run(["whoami"]) == 2
    shown = capsys.readouterr().err
    assert str(path) in shown
    assert KEY[-20:] not in shown


def test_a_key_file_is_found_from_home_and_from_the_profile(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files break: `~/key`, or a path relative to the profile, is read from another place."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "key", "ak-home\n")
    _write(config.parent / "key", "ak-beside\n")
    assert ProfileContext("a", "https://a.example", api_key_file="~/key").credential() == "ak-home"
    assert ProfileContext("a", "https://a.example", api_key_file="key").credential() == "ak-beside"
    with pytest.raises(ProfileError, match=r"contexts\.a\.apiKeyFile names a file that does not exist"):
        ProfileContext("a", "https://a.example", api_key_file="nowhere").credential()
