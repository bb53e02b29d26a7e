"""Builds the OpenAPI document from the routes: their parameters, models and docstrings, and tested examples."""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from inspect import cleandoc
from typing import Any, get_args, get_type_hints

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo

from ostiary.api.route import BodyOf, Listing, _anyone, _caller
from ostiary.core.problem import CODES, Problem
from ostiary.http import messages
from ostiary.node.app import ROUTERS
from tests.house.openapi import oauth, words
from tests.house.openapi.examples import Asked, Example, Studio, studio

Json = dict[str, Any]
REF = "#/components/schemas/{model}"
SHARED = ("organization", "limit", "cursor")
"""Query parameters that are defined once, under `components`."""


@cache
def text() -> str:
    """Return the whole document as it is stored."""
    with studio() as house:
        return json.dumps(document(house), indent=1, ensure_ascii=False) + "\n"


def document(house: Studio) -> Json:
    schemas = _Schemas()
    paths: dict[str, Json] = {}
    for route in routes():
        operation = _of_route(route, schemas, house)
        paths.setdefault(route.path_format, {})[_method(route)] = operation
    for hot in words.HOT:
        paths.setdefault(hot["path"], {})[hot["method"]] = _of_hot(hot, schemas, house)
    paths |= oauth.paths(house)
    order = [path for path in paths if path.startswith("/v1/verify") or "/authorize" in path]
    order += [path for path in paths if path not in order]
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Ostiary",
            "version": version("ostiary"),
            "description": words.ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in words.SECURITY],
        "tags": [{"name": name, "description": about} for name, about in words.TAGS.items()],
        "paths": {path: paths[path] for path in order},
        "components": {
            "securitySchemes": words.SECURITY | oauth.SECURITY,
            "parameters": _shared_parameters(house),
            "headers": {
                name: {"description": about, "schema": {"type": "string"}, "example": value}
                for name, (about, value) in words.HEADERS.items()
            },
            "responses": {
                name: _problem_response(status, about, problem)
                for status, (name, about, problem) in words.PROBLEMS.items()
            }
            | oauth.RESPONSES,
            "schemas": schemas.all() | oauth.SCHEMAS,
        },
    }


def routes() -> Iterator[APIRoute]:
    for router in ROUTERS:
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def _method(route: APIRoute) -> str:
    return "".join(route.methods or ()).lower()


# One operation


def _of_route(route: APIRoute, schemas: "_Schemas", house: Studio) -> Json:
    method, told, body = _method(route), _told(route), _body(route)
    query = list(_query(route.dependant))
    names = {name for name, _ in query}
    status = route.status_code or 200
    assert told is not None or status == 204, f"{route.name} does not say what it answers: `-> Answer[…]`"
    example = house.take(
        Asked(route.name, method, route.path_format, schemas.example(body), status, "cursor" in names, {})
    )
    parameters = _path_parameters(route.path_format)
    parameters += [
        {"$ref": f"#/components/parameters/{name}"} if name in SHARED else _query_parameter(name, field)
        for name, field in sorted(query, key=lambda each: each[0] in SHARED)
    ]
    public = _is_public(route.dependant)
    if method == "post" and not public:
        parameters.append({"$ref": "#/components/parameters/Idempotency-Key"})
    if example.takes_if_match:
        parameters.append({"$ref": "#/components/parameters/If-Match"})
    problems = {400, 401, 422, 503, 507} | (set() if public else {403})
    problems |= {404} if "organization" in names or "{" in route.path_format else set()
    problems |= {412} if example.takes_if_match else set()
    problems |= {413, 415} if body else set()
    responses: Json = {str(status): _success(told, schemas, example, "" if public else method)}
    for number in sorted(problems):
        responses[str(number)] = _problem(number)
    for declared, response in route.responses.items():
        responses[str(declared)] = _problem_response(int(declared), response["description"], None)
    found = _operation(str(route.tags[0]), route.name, route.description, parameters, body, schemas, example)
    return found | ({"security": []} if public else {}) | {"responses": dict(sorted(responses.items()))}


def _is_public(dependant: Dependant) -> bool:
    """Return whether the operation is public."""
    return dependant.call not in (_caller, _anyone) and all(map(_is_public, dependant.dependencies))


def _of_hot(hot: Json, schemas: "_Schemas", house: Studio) -> Json:
    body, told = hot.get("body"), hot.get("told")
    parameters = _path_parameters(hot["path"]) + hot.get("parameters", [])
    fields = {each["name"].lower(): each["example"] for each in hot.get("parameters", [])}
    example = house.take(
        Asked(hot["id"], hot["method"], hot["path"], schemas.example(body), 200, False, fields)
    )
    success: Json = {"description": "Success."}
    marked = ["X-Request-Id"] if hot.get("marked") else []
    if names := [*marked, *hot.get("headers", ())]:
        success["headers"] = _headers(*names)
    if schema := hot.get("schema") or (told and schemas.ref(told)):
        success["content"] = {"application/json": {"schema": schema, "example": example.answer}}
    responses: Json = {"200": success}
    for status in hot.get("problems", ()):
        responses[str(status)] = _problem(status)
        if status in hot.get("refusals", {}):
            about, problem = hot["refusals"][status]
            responses[str(status)] = _problem_response(status, about, problem, "X-Auth-Error", marked=False)
    for status, about in hot.get("empty", {}).items():
        names = ["X-Auth-Error", *(["WWW-Authenticate"] if status == 401 else [])]
        responses[str(status)] = {"description": about, "headers": _headers(*names)}
    if hot.get("not_ready"):
        responses["503"] = {
            "description": "It cannot: `reasons` says why.",
            "headers": _headers("X-Request-Id"),
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "status": {"const": "not ready"},
                            "reasons": {"type": "array", "items": {"type": "string"}},
                        },
                        "required": ["status", "reasons"],
                    },
                    "example": {"status": "not ready", "reasons": ["the database does not answer"]},
                }
            },
        }
    found = _operation(hot["tag"], hot["id"], hot["doc"], parameters, body, schemas, example)
    return found | ({"security": []} if hot.get("open") else {}) | {"responses": responses}


def _operation(
    tag: str,
    name: str,
    doc: str,
    parameters: list[Json],
    body: type[BaseModel] | None,
    schemas: "_Schemas",
    example: Example,
) -> Json:
    first, _, rest = cleandoc(doc).partition("\n\n")
    found: Json = {"tags": [tag], "summary": _line(first).removesuffix("."), "operationId": name}
    if rest:
        found["description"] = "\n\n".join(_line(each) for each in rest.split("\n\n"))
    if parameters:
        found["parameters"] = parameters
    if body is not None:
        content = {"schema": schemas.ref(body), "example": example.body}
        found["requestBody"] = {"required": True, "content": {"application/json": content}}
    return found


def _line(paragraph: str) -> str:
    return " ".join(paragraph.split())


def _success(told: Any, schemas: "_Schemas", example: Example, method: str) -> Json:
    names = ["X-Request-Id", *(["ETag"] if "etag" in example.headers else [])]
    names += ["Idempotency-Replayed"] if method == "post" else []
    found: Json = {"description": "Done." if told is None else "Success.", "headers": _headers(*names)}
    if told is not None:
        content = {"schema": schemas.ref(told), "example": example.answer}
        found["content"] = {"application/json": content}
    return found


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _told(route: APIRoute) -> Any:
    """Return the model in a handler's `Answer[…]`, or None if the response has no body."""
    arguments = get_args(get_type_hints(route.endpoint, include_extras=True)["return"])
    return arguments[0] if arguments else None


def _body(route: APIRoute) -> type[BaseModel] | None:
    calls = (each.call for each in route.dependant.dependencies)
    return next((call.model for call in calls if isinstance(call, BodyOf)), None)


# Parameters


def _query(dependant: Dependant) -> Iterator[tuple[str, FieldInfo]]:
    """Return every query parameter of a handler and its dependencies, once."""
    found = {param.alias: param.field_info for param in dependant.query_params}
    for each in dependant.dependencies:
        found |= dict(_query(each))
    yield from found.items()


def _query_parameter(name: str, field: FieldInfo) -> Json:
    schema = _tidy(TypeAdapter(field.rebuild_annotation()).json_schema())
    schema.pop("description", None)
    if isinstance(schema.get("type"), list):  # a query has no null: the parameter is omitted
        schema["type"] = schema["type"][0]
    return {"name": name, "in": "query", "description": field.description, "schema": schema}


def _path_parameters(path: str) -> list[Json]:
    return [{"$ref": f"#/components/parameters/path-{name}"} for name in re.findall(r"\{(\w+)\}", path)]


def _shared_parameters(house: Studio) -> Json:
    shared: Json = {
        f"path-{name}": {
            "name": name,
            "in": "path",
            "required": True,
            "description": about,
            "schema": {"type": "string", "minLength": 1, "maxLength": 256},
            "example": house.names[name],
        }
        for name, about in words.PATH.items()
    }
    for route in routes():
        for name, field in _query(route.dependant):
            if name in SHARED:
                shared[name] = _query_parameter(name, field)
    shared["Idempotency-Key"] = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A repeat with the same key and credential within a day gets the first answer again, without "
        "its secret. The same key with another request is 422 `idempotency-mismatch`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        "example": "5f2b1c1e-8a54-4d0e-9c0e-2f9f0a6d7b11",
    }
    shared["If-Match"] = {
        "name": "If-Match",
        "in": "header",
        "description": "Only if its tag is still one of these (RFC 9110).",
        "schema": {"type": "string"},
        "example": words.HEADERS["ETag"][1],
    }
    return shared


# Problems


def _problem(status: int) -> Json:
    return {"$ref": f"#/components/responses/{words.PROBLEMS[status][0]}"}


def _problem_response(
    status: int, about: str, problem: Problem | None, *more: str, marked: bool = True
) -> Json:
    names = ["X-Request-Id"] if marked else []
    names += {401: ["WWW-Authenticate"], 503: ["Retry-After"], 507: ["Retry-After"]}.get(status, [])
    content: Json = {"schema": {"$ref": REF.format(model="Problem")}}
    if problem is not None:
        request_id = words.HEADERS["X-Request-Id"][1] if marked else None
        content["example"] = json.loads(
            messages.problem_body(problem, "https://keys.acme.example", request_id)
        )
    found: Json = {"description": about, "content": {"application/problem+json": content}}
    if names := [*names, *more]:
        found["headers"] = _headers(*names)
    return found


PROBLEM: Json = {
    "type": "object",
    "description": "An error (RFC 9457). Some codes bring members of their own.",
    "properties": {
        "type": {"type": "string", "description": "The entry in the documentation."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do next, for people."},
        "code": {"enum": list(CODES), "description": "What programs decide by."},
        "instance": {"type": "string", "description": "The request's id, where it has one."},
        "errors": {
            "type": "array",
            "description": "Every field that is wrong.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "A JSON pointer, or `/` and a query parameter.",
                    },
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "code", "detail"],
            },
        },
        "scope": {"type": "string", "description": "`insufficient-permissions`: the scope that is lacking."},
        "error": {
            "type": "string",
            "description": "`insufficient-permissions`: why a good credential is refused here.",
        },
        "scopes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "`scope-exceeds-grantor`: what the caller does not hold.",
        },
        "limits": {
            "type": "array",
            "items": {"enum": ["lifetime", "networks", "rate_limit", "scopes"]},
            "description": "`scope-exceeds-grantor`: which limits of the caller's credential are exceeded.",
        },
        "limit": {"type": "string", "description": "`limit-reached`: the limit's name."},
        "value": {"type": "integer", "description": "`limit-reached`: what it is."},
        "count": {"type": "integer", "description": "`limit-reached`: how many there are."},
        "earliest": {
            "type": "string",
            "format": "date-time",
            "description": "`too-early`: from when on it can be deleted.",
        },
    },
    "required": ["type", "title", "status", "detail", "code"],
}


# Schemas


class _Schemas:
    """Pydantic's schemas of the requested models, under their names in the document."""

    def __init__(self) -> None:
        self._found: Json = {"Problem": PROBLEM}

    def ref(self, shape: Any) -> Json:
        self._learn(shape)
        return {"$ref": REF.format(model=_name(shape))}

    def example(self, model: type[BaseModel] | None) -> Any:
        """Return the one example of a request model."""
        if model is None:
            return None
        extra = model.model_config.get("json_schema_extra")
        assert isinstance(extra, dict), f"{model.__name__} has no example: `model_config = example(…)`"
        return extra["examples"][0]  # type: ignore[index] # `example` wrote it

    def all(self) -> Json:
        return dict(sorted(self._found.items()))

    def _learn(self, shape: Any) -> None:
        model = isinstance(shape, type) and issubclass(shape, BaseModel)
        # In a list, so that each schema gets a name, and models without a configuration use this one.
        adapter = TypeAdapter(list[shape], config=ConfigDict(use_attribute_docstrings=True))
        schema = adapter.json_schema(ref_template=REF, mode="validation" if model else "serialization")
        for name, each in schema["$defs"].items():
            self._add(_public(name), _tidy(each, name))

    def _add(self, name: str, schema: Json) -> None:
        assert self._found.setdefault(name, schema) == schema, f"two things are called {name}"


def _name(shape: Any) -> str:
    if arguments := get_args(shape):
        return f"{_name(arguments[0])}List"
    return _public(shape.__name__)


def _public(name: str) -> str:
    """Return the name of a schema: `Listing_RoleJson_` is the list of `RoleJson`."""
    if listed := re.fullmatch(rf"{Listing.__name__}_(\w+)_", name):
        return f"{_public(listed[1])}List"
    return name.removesuffix("Json")


def _tidy(schema: Any, name: str = "") -> Any:
    """Remove titles that repeat a name, examples that belong to the operation, and defaults without meaning."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _tidy(value) for key, value in schema.items() if key not in ("properties", "examples")}
    if isinstance(found.get("title"), str):
        del found["title"]
    if found.get("default", ...) is None:
        del found["default"]
    if "properties" in schema:
        found["properties"] = {key: _tidy(value) for key, value in schema["properties"].items()}
        if name.endswith("Changes"):  # an omitted member is unchanged
            for each in found["properties"].values():
                each.pop("default", None)
    if isinstance(reference := found.get("$ref"), str):
        head, _, target = reference.rpartition("/")
        found["$ref"] = f"{head}/{_public(target)}"
    return _one_of_two_types(found)


def _one_of_two_types(schema: Json) -> Json:
    """Replace `anyOf` of a plain type and null by one schema with two types."""
    choice = schema.get("anyOf", [])
    if len(choice) != 2 or choice[1] != {"type": "null"} or not isinstance(choice[0].get("type"), str):
        return schema
    plain: Json = choice[0]
    found = {**plain, "type": [plain["type"], "null"]}
    if "enum" in plain or "const" in plain:
        found["enum"] = [*plain.get("enum", [found.pop("const", None)]), None]
    return found | {key: value for key, value in schema.items() if key != "anyOf"}
