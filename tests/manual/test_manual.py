"""The manual at `/docs`: all pages are served, all links work, and nothing is loaded from other hosts."""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag

import pytest

from ostiary.core.problem import CODES, Problem
from ostiary.http import messages
from ostiary.manual import markdown, pages, reference, responses
from tests.cast import Answer, Front
from tests.house.source import ROOT

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Read(HTMLParser):
    """The parts of a page that a browser would use."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(str(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str, *tags: str) -> list[str]:
        """Return the values of an attribute, of these tags or of all tags."""
        return [found[name] for tag, found in self.tags if name in found and (not tags or tag in tags)]


def read(answer: Answer) -> Read:
    return Read(answer.body.decode())


def crawl(front: Front) -> Iterator[tuple[str, Read]]:
    """Return every page that can be reached from the first page."""
    seen, waiting = {"/docs"}, ["/docs"]
    while waiting:
        path = waiting.pop()
        answer = front.ask("GET", path)
        assert answer.status == 200, path
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        page = read(answer)
        yield path, page
        found = {urldefrag(link).url for link in page.all("href", "a")}
        new = {link for link in found if link.startswith("/")} - seen
        seen |= new
        waiting += sorted(new)


@cache
def of_docs() -> list[str]:
    """Return the path of every Markdown page of docs/."""
    names = (
        path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")
    )
    return sorted("/docs" if name == "README" else f"/docs/{name}" for name in names)


def test_every_page_can_be_reached(front: Front) -> None:
    """The documentation breaks: a page of docs/ is not served, or no page links to it."""
    assert len(of_docs()) > 10
    assert set(of_docs()) - {path for path, _ in crawl(front)} == set()


def test_an_installed_package_has_the_pages() -> None:
    """The manual breaks after installation: the package does not contain its pages, or they are not found."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    installed = Path(pages.__file__).with_name("docs").relative_to(ROOT / "src")
    assert wheel["force-include"] == {"docs": installed.as_posix()}
    assert not (ROOT / "src" / installed).exists()  # a checkout reads docs/ directly
    assert pages.directory() == ROOT / "docs"


def test_every_link_and_anchor_leads_somewhere(front: Front) -> None:
    """The documentation breaks: a link leads to a page or heading that does not exist."""
    found = dict(crawl(front))
    links = 0
    for path, page in found.items():
        assert len(page.all("id")) == len(set(page.all("id"))), path
        for link in page.all("href", "a"):
            target, anchor = urldefrag(link)
            links += 1
            if re.match(r"[a-z]+:", target):
                continue
            assert not target or target.startswith("/"), (path, link)
            if anchor:
                assert anchor in found[target or path].all("id"), (path, link)
    assert links > 200


def test_every_problem_type_leads_to_its_entry(front: Front) -> None:
    """B2 breaks: the `type` of a problem leads to no entry in the manual of the service that sent it."""
    ids = read(front.ask("GET", "/docs/troubleshooting")).all("id")
    types = [messages.problem_body(Problem(code, "x"), "https://keys.example.com") for code in CODES]
    assert all(
        b'"https://keys.example.com/docs/troubleshooting#%s"' % code.encode() in body
        for code, body in zip(CODES, types, strict=True)
    )
    assert CODES.keys() - set(ids) == set()


def test_nothing_comes_from_outside(front: Front) -> None:
    """The manual breaks without internet access, tells other hosts about its readers, or violates its policy."""
    for path, page in crawl(front):
        loaded = page.all("src") + page.all("href", "link")
        assert [each for each in loaded if not each.startswith(("/docs/style.css?", "data:image/"))] == [], (
            path
        )
        forbidden = {"script", "style", "iframe", "form", "img", "base", "object", "embed"}
        assert forbidden & {tag for tag, _ in page.tags} == set(), path
        assert page.all("style") == [], path
    assert b"url(" not in front.ask("GET", "/docs/style.css").body
    assert b"@import" not in front.ask("GET", "/docs/style.css").body


@pytest.mark.parametrize("path", ["/docs", "/docs/concepts", "/docs/style.css", "/docs/nowhere"])
def test_pages_are_locked_up(front: Front, path: str) -> None:
    """The manual breaks: a page can run a script, be framed, send a referrer, or set a cookie."""
    fields = front.ask("GET", path, headers=BROWSER).headers
    policy = fields["content-security-policy"].split("; ")
    assert {"default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'none'"} <= set(
        policy
    )
    assert not re.search(r"script-src|unsafe|https?:|\*", "; ".join(policy))
    assert fields["x-frame-options"] == "DENY"
    assert fields["referrer-policy"] == "no-referrer"
    assert fields["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in fields


def test_what_is_no_page_is_not_found(front: Front) -> None:
    """The manual breaks: a wrong URL gives people no link back, or programs no problem."""
    shown = front.ask("GET", "/docs/nowhere", headers=BROWSER)
    assert (shown.status, shown.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert {"/docs", "/docs/quickstart"} <= set(read(shown).all("href", "a"))
    assert "nowhere" not in shown.body.decode()
    for accept in ({}, {"accept": "application/json"}, {"accept": "*/*"}):
        told = front.ask("GET", "/docs/nowhere", headers=accept)
        assert (told.status, told.headers["content-type"]) == (404, "application/problem+json")
        assert told.json()["code"] == "not-found"
        assert told.json()["instance"] == told.headers["x-request-id"]


@pytest.mark.parametrize(
    "name",
    ["../README", "..", "../../etc/passwd", "%2e%2e/README", "..%2fREADME", "decisions/../concepts", "concepts.md",
     "./concepts", "/etc/passwd", "concepts/", "concepts%00", "CONCEPTS", "README", "style.css/x", "layout.html",
     "templates/layout.html", "decisions/../../README", "..\\README"],
)  # fmt: skip
def test_only_what_is_in_the_list_is_served(front: Front, name: str) -> None:
    """The manual breaks: a URL reads other files of the machine."""
    assert front.ask("GET", f"/docs/{name}", headers=BROWSER).status in (400, 404)
    assert name not in pages.sources()


def test_the_first_page_has_two_addresses(front: Front) -> None:
    """The manual breaks: `/docs/` is not found."""
    assert front.ask("GET", "/docs/").body == front.ask("GET", "/docs").body


@pytest.mark.parametrize("path", ["/docs", "/docs/concepts", "/docs/style.css", "/docs/nowhere"])
def test_head_is_get_without_the_body(front: Front, path: str) -> None:
    """RFC 9110 §9.3.2 breaks: HEAD returns other headers than GET."""
    got, asked = front.ask("GET", path, headers=BROWSER), front.ask("HEAD", path, headers=BROWSER)
    assert asked.status == got.status
    changing = {"x-request-id"}
    assert {k: v for k, v in asked.headers.items() if k not in changing} == {
        k: v for k, v in got.headers.items() if k not in changing
    }


def test_what_a_browser_has_is_not_sent_again(front: Front) -> None:
    """The manual breaks: cached pages are sent again, or an old style sheet remains after an upgrade."""
    page = front.ask("GET", "/docs/concepts")
    assert page.headers["cache-control"] == "no-cache"
    again = front.ask("GET", "/docs/concepts", headers={"if-none-match": f'"x", W/{page.headers["etag"]}'})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == page.headers["etag"]
    assert front.ask("GET", "/docs/concepts", headers={"if-none-match": '"x"'}).status == 200
    (style,) = (link for link in read(page).all("href", "link") if "style" in link)
    assert "immutable" in front.ask("GET", style).headers["cache-control"]
    assert front.ask("GET", "/docs/style.css").headers["cache-control"] == "no-cache"
    assert front.ask("GET", "/docs/style.css?another").headers["cache-control"] == "no-cache"


def test_a_browser_reads_it_without_a_mouse(front: Front) -> None:
    """The manual breaks for people with a keyboard or a screen reader: no skip link, or no landmarks."""
    for path, page in crawl(front):
        (first, *_) = (found for tag, found in page.tags if tag == "a")
        assert first["href"] == "#content", path
        assert "content" in page.all("id", "main")
        assert [tag for tag, _ in page.tags].count("h1") == 1, path
        assert all(found.get("aria-label") for tag, found in page.tags if tag == "nav"), path
        assert ("html", {"lang": "en"}) in page.tags


# Markdown


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "a <b onclick=x>b</b>", "<!-- x --><script>y</script>", "<img src=https://x.test/>",
     "<br onload=x>", "| a |\n|---|\n| <i>x</i> |", "```\n<b>\n```", "`<b>`", "# <b>x</b>", "```json\n<script>\n```"],
)  # fmt: skip
def test_html_in_markdown_is_text(text: str) -> None:
    """The manual breaks: HTML in a Markdown page is not escaped."""
    page = Read(markdown.render(text).html)
    made = {"p", "div", "table", "thead", "tbody", "tr", "th", "td", "pre", "code", "span", "h1"}
    assert {tag for tag, _ in page.tags} <= made
    assert "<" in page.text


def test_what_is_for_the_source_is_not_shown() -> None:
    """The manual breaks: a comment in the source is shown, or a line break is shown as text."""
    rendered = markdown.render("<!-- generated -->\n\na<br>b <!-- c -->\n").html
    assert rendered.strip() == "<p>a<br>b </p>"


@pytest.mark.parametrize(
    "link, target",
    [
        ("concepts.md", "/docs/concepts"),
        ("concepts.md#words", "/docs/concepts#words"),
        ("#requests", "#requests"),
        ("README.md", "/docs"),
        ("decisions/", "/docs/decisions"),
        ("decisions/0006-empty-lists.md", "/docs/decisions/0006-empty-lists"),
        ("https://example.com/a.md", "https://example.com/a.md"),
        ("../README.md", None),
        ("../examples/nginx.conf", None),
        ("nowhere.md", None),
        ("/etc/passwd", None),
    ],
)
def test_where_a_link_leads(link: str, target: str | None) -> None:
    """The manual breaks: a link between files of the repository does not become a link between pages."""
    page = Read(pages.render(pages.ManualPage("api", "API", f"See [here]({link}).")).html)
    assert page.all("href", "a") == ([] if target is None else [target])
    assert page.text.strip() == "See here."


def test_a_link_that_names_a_file_names_its_page() -> None:
    """The manual breaks: links show file names that readers of the manual do not have."""
    page = Read(pages.render(pages.ManualPage("api", "API", "In [concepts.md](concepts.md#words).")).html)
    assert page.text.strip() == "In Concepts."


def test_headings_have_the_anchors_that_links_name() -> None:
    """The manual breaks: anchors differ from GitHub's, so a link works in only one of the two."""
    found = markdown.render("# A\n## `X-Auth` is *no* one's, at 403\n## a_b\n## Same\n## Same\n").headings
    assert [each.anchor for each in found] == ["a", "x-auth-is-no-ones-at-403", "a_b", "same", "same-1"]


def test_a_page_loads_no_picture() -> None:
    """The manual breaks without internet access, or tells other hosts about its readers."""
    made = Read(markdown.render("![x](https://x.test/a.png)").html)
    assert "img" not in {tag for tag, _ in made.tags}


def test_javascript_is_no_link() -> None:
    """The manual breaks: a link on a page runs a script."""
    assert Read(markdown.render("[x](javascript:alert(1))").html).all("href") == []


# The reference of the API

DOCUMENT = {
    "openapi": "3.1.1",
    "info": {"title": "Ostiary", "description": "About *it*."},
    "security": [{"X-API-Key": []}],
    "tags": [{"name": "Service accounts", "description": "Principals that are no people."}],
    "paths": {
        "/v1/service-accounts/{account}": {
            "parameters": [{"$ref": "#/components/parameters/account"}],
            "patch": {
                "tags": ["Service accounts"],
                "summary": "Change a <service> account",
                "description": "Needs `write:service-accounts`.",
                "parameters": [
                    {"name": "force", "in": "query", "required": True, "schema": {"type": "boolean"}},
                ],
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {"$ref": "#/components/schemas/Change"},
                            "example": {"display_name": "Alice's bot", "scopes": ["read:agents"]},
                        }
                    }
                },
                "responses": {
                    "200": {
                        "description": "Success.",
                        "content": {
                            "application/json": {
                                "schema": {"$ref": "#/components/schemas/Account"},
                                "example": {"id": "sa_1"},
                            }
                        },
                    },
                    "404": {"description": "There is no such thing."},
                },
            },
        },
        "/healthz": {"get": {"summary": "Whether it lives", "security": [], "responses": {}}},
    },
    "components": {
        "parameters": {
            "account": {
                "name": "account",
                "in": "path",
                "required": True,
                "description": "Its id.",
                "schema": {"type": "string"},
                "example": "sa_1",
            }
        },
        "schemas": {
            "Change": {
                "type": "object",
                "required": ["display_name"],
                "properties": {
                    "display_name": {"type": "string", "minLength": 1, "maxLength": 253, "pattern": r"\S"},
                    "scopes": {
                        "anyOf": [
                            {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 100},
                            {"type": "null"},
                        ],
                        "default": None,
                    },
                    "access_level": {"enum": ["full", "fine_grained"], "default": "full"},
                    "roles": {"type": "array", "items": {"$ref": "#/components/schemas/Role"}},
                    "until": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
                    "limits": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
                },
            },
            "Role": {
                "type": "object",
                "required": ["role"],
                "properties": {
                    "role": {"type": "string"},
                    "inside": {"$ref": "#/components/schemas/Role"},
                },
            },
            "Account": {"type": "object", "properties": {"id": {"type": "string"}}},
        },
    },
}


def changing() -> reference.Operation:
    section, other = reference.read(DOCUMENT).sections
    assert (section.name, section.anchor, other.name) == ("Service accounts", "service-accounts", "Other")
    (operation,) = section.operations
    return operation


def test_the_reference_shows_what_an_operation_takes() -> None:
    """The reference breaks: a parameter or field is missing, or its type, limits or values are wrong."""
    operation = changing()
    assert operation.anchor == "patch-v1-service-accounts-account"
    assert [(place, [each.name for each in found]) for place, found in operation.parameters] == [
        ("Path", ["account"]),
        ("Query", ["force"]),
    ]
    shown = {
        each.name: (each.type, each.required, [Read(note).text for note in each.notes], each.choices)
        for each in operation.body
    }
    assert shown == {
        "display_name": ("string", True, ["1 to 253 characters", r"matches \S"], ()),
        "scopes": ("list of strings or null", False, ["at most 100 items", "each at most 9 characters"], ()),
        "access_level": ("string", False, ['default "full"'], ("full", "fine_grained")),
        "roles": ("list of objects", False, [], ()),
        "until": ("time or null", False, [], ()),
        "limits": ("object", False, [], ()),
    }
    inside = {each.name: [(m.name, m.required) for m in each.members] for each in operation.body}
    assert inside["roles"] == [("role", True), ("inside", False)]
    assert inside["limits"] == [("(any name)", False)]
    (_, again) = next(each for each in operation.body if each.name == "roles").members
    assert again.members == ()  # a recursive schema ends


def test_the_reference_shows_how_to_ask_and_what_comes_back() -> None:
    """The reference breaks: a copied command does not work, or the example is not a success."""
    operation = changing()
    assert Read(operation.request).text.splitlines() == [
        'curl -X PATCH "$OSTIARY_URL/v1/service-accounts/sa_1?force=…" \\',
        '  -H "X-API-Key: $OSTIARY_API_KEY" \\',
        '  -H "Content-Type: application/json" \\',
        "  -d '{",
        '  "display_name": "Alice\'\\\'\'s bot",',
        '  "scopes": ["read:agents"]',
        "}'",
        "",
    ]
    assert operation.example is not None
    assert operation.example.status == "200"
    assert [(each.status, each.good) for each in operation.answers] == [("200", True), ("404", False)]
    assert [each.name for each in operation.answers[0].members] == ["id"]
    (open_,) = reference.read(DOCUMENT).sections[1].operations
    assert Read(open_.request).text.strip() == 'curl "$OSTIARY_URL/healthz"'
    lives = {**DOCUMENT["paths"]["/healthz"]["get"], "security": [{"X-API-Key": []}, {}]}  # type: ignore[index] # JSON
    at_will = {**DOCUMENT, "paths": {"/healthz": {"get": lives}}}
    ((other,),) = (each.operations for each in reference.read(at_will).sections)
    assert Read(other.request).text.strip() == 'curl "$OSTIARY_URL/healthz"'


def test_the_reference_is_a_page() -> None:
    """The reference breaks: an operation is missing, has no anchor, or its text becomes HTML."""
    page = Read(responses.reference_page(DOCUMENT))
    assert {"service-accounts", "patch-v1-service-accounts-account", "get-healthz"} <= set(page.all("id"))
    assert len(page.all("id")) == len(set(page.all("id")))
    links = [link for link in page.all("href", "a") if link.startswith("#")]
    assert {link[1:] for link in links} <= set(page.all("id"))
    assert "Change a <service> account" in page.text
    assert page.all("style") == page.all("src") == []
