"""`/v1/access-rules`: which scopes a request forwarded by a proxy needs. The operator's."""

from typing import Annotated, Any, Literal, NotRequired, cast

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from ostiary.api.forms import Name64, Names
from ostiary.api.route import (
    Answer,
    ApiRoute,
    CallerOf,
    Listing,
    Resource,
    StrictModel,
    answer_all,
    body_of,
    example,
    perform,
    remove,
    show,
)
from ostiary.core import check
from ostiary.http.routing import wiring
from ostiary.services import access_rules

router = APIRouter(prefix="/v1/access-rules", route_class=ApiRoute, tags=["Access rules"])


class MatchBody(StrictModel):
    """One line of a rule: which requests it fits, and what they need."""

    methods: (
        Annotated[
            list[str],
            Field(min_length=1, max_length=20, description="Upper-case words. Without them, any method."),
        ]
        | None
    ) = None
    path: Annotated[
        str,
        Field(
            max_length=1024,
            description="Plain segments, `{name}` for one whole segment, a last `/**` for everything below.",
            json_schema_extra={"pattern": "^/"},
        ),
    ]
    scopes: Annotated[Names, Field(description="What the request needs, all of it.")] = []
    resource: (
        Annotated[
            str,
            Field(
                max_length=256,
                description="What the request is about, with names of the path: `agents/{id}`.",
            ),
        ]
        | None
    ) = None


class AccessRuleBody(StrictModel):
    """A rule for proxies: the first line that fits a forwarded request decides; none is a refusal."""

    model_config = example(
        {
            "match": [
                {"methods": ["GET"], "path": "/v1/agents", "scopes": ["read:agents"]},
                {"path": "/v1/agents/{id}/**", "scopes": ["write:agents"], "resource": "agents/{id}"},
            ]
        }
    )

    match: Annotated[list[MatchBody], Field(max_length=200)]
    project: Annotated[Name64 | None, Field(description="Credentials are judged for this project.")] = None
    kinds: (
        Annotated[
            list[Literal["api_key", "access_token", "session"]],
            Field(min_length=1, description="Kinds of what is presented that are admitted."),
        ]
        | None
    ) = None
    organizations: (
        Annotated[
            list[Name64],
            Field(min_length=1, max_length=1000, description="Ids of the organizations that are admitted."),
        ]
        | None
    ) = None
    audience: (
        Annotated[
            str,
            AfterValidator(check.audience),
            Field(
                description="Whom access tokens must be meant for, an absolute URI. Tokens may be asked for with it as "
                "their `resource`. Without it, tokens must be meant for this service.",
                json_schema_extra={"format": "uri", "maxLength": check.MAX_AUDIENCE},
            ),
        ]
        | None
    ) = None
    assertion: Annotated[
        bool,
        Field(description="Tell the upstream in a signed token who calls; needs `audience`, whom it is for."),
    ] = False

    preflight: Annotated[
        bool,
        Field(
            description="Let OPTIONS requests without a credential pass if a line matches the path. Browsers send them "
            "before a request to another origin."
        ),
    ] = False

    @field_validator("assertion")
    @classmethod
    def _is_for_somebody(cls, wanted: bool, info: ValidationInfo) -> bool:
        if wanted and info.data.get("audience", "") is None:
            raise ValueError("needs an audience")
        return wanted

    def document(self) -> dict[str, Any]:
        unset = {name for name in ("assertion", "preflight") if not getattr(self, name)}
        return self.model_dump(exclude_none=True, exclude=unset)


class MatchJson(TypedDict):
    """One line of a rule."""

    methods: NotRequired[list[str]]
    path: str
    scopes: NotRequired[list[str]]
    resource: NotRequired[str]


class AccessRuleJson(TypedDict):
    """A rule for proxies. What it does not restrict is left out."""

    name: str
    match: list[MatchJson]
    project: NotRequired[str]
    kinds: NotRequired[list[str]]
    organizations: NotRequired[list[str]]
    audience: NotRequired[str]
    assertion: NotRequired[bool]
    preflight: NotRequired[bool]


def rule_json(name: str, rule: dict[str, Any]) -> AccessRuleJson:
    """A rule from its stored form, whose shape was checked when it was written."""
    return cast("AccessRuleJson", {"name": name} | rule)


@router.get("")
def list_access_rules(request: Request, caller: CallerOf) -> Answer[Listing[AccessRuleJson]]:
    """List all access rules, on one page.

    Needs `read:organization` in the operator's organization.
    """
    rules = wiring(request).store.read(access_rules.list_rules, caller)
    return answer_all([rule_json(name, rule) for name, rule in rules.items()])


@router.get("/{name}")
def get_access_rule(request: Request, caller: CallerOf, name: str) -> Answer[AccessRuleJson]:
    """Show an access rule.

    Needs `read:organization` in the operator's organization.
    """
    return show(request, caller, _rule(name))


@router.put("/{name}")
def put_access_rule(
    request: Request,
    caller: CallerOf,
    name: str,
    body: Annotated[AccessRuleBody, Depends(body_of(AccessRuleBody))],
) -> Answer[AccessRuleJson]:
    """Make or replace an access rule, in force at once.

    Needs `write:organization` in the operator's organization.
    """
    return perform(
        request,
        caller,
        lambda rule: rule_json(name, rule),
        access_rules.put_rule,
        name,
        body.document(),
        current=_rule(name),
    )


@router.delete("/{name}", status_code=204)
def delete_access_rule(request: Request, caller: CallerOf, name: str) -> Response:
    """Delete an access rule.

    Requests that a proxy asks about by its name are refused from then on. Needs `write:organization` in the operator's
    organization.
    """
    return remove(request, caller, access_rules.delete_rule, name, current=_rule(name))


def _rule(name: str) -> Resource[AccessRuleJson]:
    return lambda tx, caller: rule_json(name, access_rules.get_rule(tx, caller, name))
