"""The documentation agrees with the source."""

import os
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from ostiary.config import CLIENT_SETTINGS, NOT_IN_ENVIRONMENT, PREFIX, SECRETS, Settings
from ostiary.core.event import EVENTS
from ostiary.core.problem import CODES
from ostiary.manual.markdown import slug
from tests.conftest import unavailable
from tests.house import generated_pages
from tests.house.source import ROOT, files, modules
from tests.servers import UnavailableError

PAGES = [path for path in files() if path.suffix == ".md"]


@pytest.mark.parametrize("name", generated_pages.PAGES)
def test_generated_pages_are_fresh(name: str) -> None:
    """Closed lists break: a generated page differs from the source. Run `make docs`."""
    assert (generated_pages.DOCS / name).read_text("utf-8") == generated_pages.PAGES[name]()


def test_every_setting_event_and_code_is_documented() -> None:
    """Closed lists break: an entry of a closed list is on no page, or has no description."""
    settings, events, problems = (generated_pages.PAGES[name]() for name in generated_pages.PAGES)
    for name, field in Settings.model_fields.items():
        assert re.search(r"[a-z]{3}", field.description or "")
        assert (f"`--{name}`" if name in NOT_IN_ENVIRONMENT else f"`{PREFIX}{name.upper()}`") in settings
        assert (f"`{PREFIX}{name.upper()}_FILE`" in settings) is (name in SECRETS)
    for action, kind in EVENTS.items():
        assert f"| `{action}` | {kind.doc} |" in events
    for code, (status, title) in CODES.items():
        assert f"[`{code}`](troubleshooting.md#{code}) | {status} | {title} |" in problems


def test_every_code_has_its_entry() -> None:
    """B2 breaks: the `type` of a problem points to a missing heading."""
    headings = anchors(ROOT / "docs" / "troubleshooting.md")
    assert CODES.keys() - headings == set()


def test_every_code_is_used() -> None:
    """Closed lists break: the pages document a code that no response contains."""
    said = Counter(text for each in modules() for text in set(each.texts()) if each.path != "core/problem.py")
    said.update(text for each in modules() if each.path == "core/problem.py" for text in each.texts())
    listed = 1
    assert {code for code in CODES if said[code] <= listed} == set()


def named_variables() -> set[str]:
    decisions = ROOT / "docs" / "decisions"  # they also mention mistyped names
    texts = [page.read_text("utf-8") for page in PAGES if decisions not in page.parents]
    return {match for text in texts for match in re.findall(r"\bOSTIARY_[A-Z_]*[A-Z]\b", text)}


def test_a_variable_that_a_page_names_is_read() -> None:
    """Closed lists break: a page names a setting that does not exist."""
    settings = {each.upper() for each in Settings.model_fields if each not in NOT_IN_ENVIRONMENT}
    settings |= {f"{each.upper()}_FILE" for each in SECRETS}
    # `OSTIARY_DEFAULT_…` stands for all settings with this prefix. Only the tests read OSTIARY_PROVE.
    read = settings | CLIENT_SETTINGS | {"PROVE"}
    named = {variable.removeprefix(PREFIX) for variable in named_variables()}
    assert len(named) > 20
    assert [
        name for name in named - read if not any(setting.startswith(f"{name}_") for setting in settings)
    ] == []


def test_the_page_about_speed_has_the_figures_of_the_last_run() -> None:
    """The documentation breaks: the page about speed shows figures that are not from the last run of `make bench`."""
    _, heading, figures = (ROOT / "docs" / "speed.md").read_text("utf-8").partition("\n## The last run\n")
    assert heading
    assert len(figures.strip().splitlines()) > 3
    assert figures.strip() in (ROOT / "benchmarks" / "results" / "latest.md").read_text("utf-8")


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub generates for a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.S), re.M)
    return {slug(heading) for heading in headings}


LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S))
    if not re.match(r"[a-z]+:", link)
]


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if anchor and target.suffix == ".md":
        return target.exists() and anchor in anchors(target)
    return target.exists()


def test_a_link_leads_somewhere() -> None:
    """The documentation breaks: a link points to a missing page or heading."""
    assert len(LINKS) > 100
    dead = [f"{page.relative_to(ROOT)}: {link}" for page, link in LINKS if not leads_somewhere(page, link)]
    assert dead == []


TARGETS = ["help", "run", "setup", "check", "format", "test", "prove", "bench", "lock", "docs", "clean"]


def make(*arguments: str) -> str:
    """Return the output of make, unaffected by the make that runs this test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_targets_are_there() -> None:
    """Build breaks: `make` does not list the targets, or a target is missing."""
    shown = make().splitlines()
    assert [line.split()[0] for line in shown] == TARGETS
    assert all(len(line.split()) > 1 for line in shown)


def test_a_target_can_be_made() -> None:
    """Build breaks: `make -n` fails for a target."""
    for target in TARGETS:
        assert make("-n", target)


def test_what_is_missing_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build breaks: CI passes although it skipped tests whose programs were missing."""
    assert "export CI=true" in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="Envoy"):
        unavailable(UnavailableError("Envoy"))
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="Envoy"):
        unavailable(UnavailableError("Envoy"))


def test_setup_installs_what_a_missing_program_asks_for() -> None:
    """Build breaks: `make setup` ran on an empty machine, but tests are still skipped."""
    tests = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")]
    asked = {name for text in tests for name in re.findall(r"apt-get install ([a-z]+)", text)}
    assert asked >= {"chromium", "curl", "haproxy"}
    assert asked <= set(re.findall(r"[a-z]+", make("-n", "setup")))


def test_what_must_pass_before_anything_lands_is_make_test() -> None:
    """Build breaks: CI runs other commands than developers do."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text("utf-8").splitlines()[-1] == "exec make test"
