"""Reads an OpenAPI 3.1 document into the dataclasses that the API reference page shows.

Everything comes from the document, except the `curl` command of each operation.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from markupsafe import Markup

from ostiary.manual import markdown
from ostiary.manual.markdown import Heading

METHODS: Final = ("get", "post", "put", "patch", "delete")
Json = Mapping[str, Any]

BOUNDS: Final = (
    # Pairs of JSON Schema keywords, and their unit.
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
    ("minimum", "maximum", ""),
)


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field of a request or response body, or a parameter."""

    name: str
    type: str
    required: bool
    description: Markup
    notes: tuple[Markup, ...]
    choices: tuple[str, ...]
    members: tuple["FieldRow", ...]


@dataclass(frozen=True, slots=True)
class ExampleView:
    """A response: its status (or `default`), description, fields and example."""

    status: str
    description: Markup
    members: tuple[FieldRow, ...]
    example: Markup | None

    @property
    def good(self) -> bool:
        return self.status.startswith("2")


@dataclass(frozen=True, slots=True)
class Operation:
    anchor: str
    method: str
    path: str
    summary: str
    description: Markup
    parameters: tuple[tuple[str, tuple[FieldRow, ...]], ...]
    """Grouped by location: `Path`, `Query`, `Header`."""
    body: tuple[FieldRow, ...]
    request: Markup
    answers: tuple[ExampleView, ...]
    example: ExampleView | None
    """The first successful response that has an example."""


@dataclass(frozen=True, slots=True)
class Section:
    """The operations of one tag."""

    name: str
    anchor: str
    description: Markup
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    description: Markup
    sections: tuple[Section, ...]
    headings: tuple[Heading, ...]


def read(document: Json) -> Reference:
    """Return the reference for an OpenAPI document. Operations without a tag come last, in the section `Other`."""
    described = {tag["name"]: tag.get("description", "") for tag in document.get("tags", ())}
    tagged: dict[str, list[Operation]] = {name: [] for name in described}
    for path, method, operation in _operations(document):
        for tag in operation.get("tags") or ("Other",):
            tagged.setdefault(tag, []).append(_operation(document, path, method, operation))
    sections = tuple(
        Section(name, markdown.slug(name), _prose(described.get(name)), tuple(operations))
        for name, operations in tagged.items()
        if operations
    )
    headings = tuple(Heading(2, each.anchor, each.name) for each in sections)
    return Reference(_prose(document.get("info", {}).get("description")), sections, headings)


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                own = item[method]
                yield (
                    path,
                    method,
                    {**own, "parameters": [*item.get("parameters", ()), *own.get("parameters", ())]},
                )


def _operation(document: Json, path: str, method: str, operation: Json) -> Operation:
    parameters = [_resolved(document, each) for each in operation["parameters"]]
    places = (
        (place, tuple(_parameter(document, each) for each in parameters if each["in"] == place.lower()))
        for place in ("Path", "Query", "Header")
    )
    body = _content(_resolved(document, operation.get("requestBody", {})))
    responses = operation.get("responses", {})
    answers = tuple(_response(document, status, responses[status]) for status in sorted(responses))
    return Operation(
        anchor=re.sub(r"[^a-z0-9]+", "-", f"{method} {path}".lower()).strip("-"),
        method=method.upper(),
        path=path,
        summary=operation.get("summary", path),
        description=_prose(operation.get("description")),
        parameters=tuple((place, found) for place, found in places if found),
        body=_members(document, body.get("schema", {})),
        request=_curl(document, path, method, operation, parameters, body),
        answers=answers,
        example=next((each for each in answers if each.good and each.example is not None), None),
    )


def _parameter(document: Json, parameter: Json) -> FieldRow:
    schema = {**parameter.get("schema", {}), "description": parameter.get("description", "")}
    return _member(document, parameter["name"], schema, bool(parameter.get("required")), ())


def _response(document: Json, status: str, response: Json) -> ExampleView:
    found = _resolved(document, response)
    content = _content(found)
    example = _example(document, content)
    return ExampleView(
        status,
        _prose(found.get("description")),
        _members(document, content.get("schema", {})),
        None if example is None else markdown.code(_json(example), "json"),
    )


# Schemas


def _members(document: Json, schema: Json, above: tuple[str, ...] = ()) -> tuple[FieldRow, ...]:
    """Return the fields of an object, or of the objects in a list or among alternatives; empty for other types.

    `above` holds the references that led here. They are not followed again, so recursive schemas end.
    """
    if (name := schema.get("$ref")) is not None:
        return () if name in above else _members(document, _resolved(document, schema), (*above, name))
    found = [
        _member(document, name, each, name in schema.get("required", ()), above)
        for name, each in schema.get("properties", {}).items()
    ]
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping) and extra:
        found.append(_member(document, "(any name)", extra, False, above))
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found += _members(document, part, above)
    if "items" in schema:
        found += _members(document, schema["items"], above)
    return tuple({each.name: each for each in reversed(found)}.values())[::-1]


def _member(document: Json, name: str, schema: Json, required: bool, above: tuple[str, ...]) -> FieldRow:
    said = {**_resolved(document, schema), **{key: each for key, each in schema.items() if key != "$ref"}}
    alternatives = [_resolved(document, each) for each in _alternatives(said)]
    values = [each for each in (said, *alternatives) if each.get("type") != "null"]
    notes = [note for each in values for note in _notes(each)]
    notes += [Markup("each {}").format(note) for each in values for note in _notes(each.get("items", {}))]
    if said.get("default") not in (None, "", [], {}):
        notes.append(Markup("default <code>{}</code>").format(_json(said["default"])))
    choices = [
        each if isinstance(each, str) else _json(each)
        for value in values
        for each in (*_choices(value), *_choices(value.get("items", {})))
    ]
    return FieldRow(
        name,
        _type(document, said),
        required,
        _prose(
            said.get("description") or next(iter(each.get("description", "") for each in alternatives), "")
        ),
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys(choices)),
        _members(document, schema, above),
    )


def _notes(schema: Json) -> Iterator[Markup]:
    """Yield the limits of a value in words."""
    for least, most, counted in BOUNDS:
        match schema.get(least), schema.get(most):
            case None, None:
                pass
            case low, None:
                yield Markup("at least {}{}").format(low, counted)
            case None, high:
                yield Markup("at most {}{}").format(high, counted)
            case low, high:
                yield Markup("{} to {}{}").format(low, high, counted)
    if "pattern" in schema:
        yield Markup("matches <code>{}</code>").format(schema["pattern"])


def _choices(schema: Json) -> tuple[Any, ...]:
    return (schema["const"],) if "const" in schema else tuple(schema.get("enum", ()))


def _alternatives(schema: Json) -> list[Json]:
    return [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]


def _type(document: Json, schema: Json) -> str:
    """Describe the type of a value: `string or null`, `list of objects`."""
    schema = _resolved(document, schema)
    kind = schema.get("type")
    if kind is None:
        names = [_type(document, each) for each in _alternatives(schema)]
        names = names or [_type_of(each) for each in _choices(schema)]
        return " or ".join(dict.fromkeys(names)) or "any"
    if isinstance(kind, list):
        return " or ".join(_type(document, {**schema, "type": each}) for each in kind)
    if kind == "array":
        inner = _type(document, schema.get("items", {}))
        return (
            "list" if inner == "any" else f"list of {inner}s" if " or " not in inner else f"list of {inner}"
        )
    return {"date-time": "time", "email": "email address"}.get(schema.get("format", ""), str(kind))


def _type_of(value: object) -> str:
    return {bool: "boolean", int: "integer", float: "number", str: "string"}.get(type(value), "any")


def _resolved(document: Json, schema: Json) -> Json:
    """Follow the `$ref`s of a schema within this document (RFC 6901)."""
    while (reference := schema.get("$ref")) is not None:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        schema = target
    return schema


# Bodies and examples


def _content(holder: Json) -> Json:
    """Return the JSON content of a request or response. Problems have the same fields everywhere, so they are left out."""
    found: Json = holder.get("content", {}).get("application/json", {})
    return found


def _example(document: Json, content: Json) -> Any:
    """Return the example of a body or of its schema; None if there is none."""
    if "example" in content:
        return content["example"]
    for each in content.get("examples", {}).values():
        return _resolved(document, each).get("value")
    schema = _resolved(document, content.get("schema", {}))
    return next(iter(schema.get("examples", ())), schema.get("example"))


def _curl(
    document: Json, path: str, method: str, operation: Json, parameters: list[Json], body: Json
) -> Markup:
    """Return the operation as a curl command. Path parameters are replaced by their examples, if they have any."""
    for each in parameters:
        example = _parameter_example(each)
        if each["in"] == "path" and example is not None:
            path = path.replace("{" + each["name"] + "}", str(example))
    query = [f"{each['name']}=…" for each in parameters if each["in"] == "query" and each.get("required")]
    target = path + ("?" + "&".join(query) if query else "")
    parts = [("curl" if method == "get" else f"curl -X {method.upper()}") + f' "$OSTIARY_URL{target}"']
    security = operation.get("security", document.get("security"))
    if security != [] and {} not in (security or ()):
        parts.append('-H "X-API-Key: $OSTIARY_API_KEY"')
    if body:
        parts.append('-H "Content-Type: application/json"')
        example = _example(document, body)
        text = "@body.json" if example is None else _json(example).replace("'", "'\\''")
        parts.append(f"-d '{text}'")
    return markdown.code(" \\\n  ".join(parts), "bash")


def _parameter_example(parameter: Json) -> Any:
    schema = parameter.get("schema", {})
    return parameter.get("example", next(iter(schema.get("examples", ())), schema.get("example")))


def _json(value: Any) -> str:
    """Format JSON for reading: lists of plain values stay on one line."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(r"\[\n\s+([^\[\]{}]*?)\n\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)


@cache
def _prose(text: str | None) -> Markup:
    return markdown.render(text or "").html
