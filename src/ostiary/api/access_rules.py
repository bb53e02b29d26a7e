"""`/v1/access-rules`: the scopes that forwarded requests need. Only the operator can manage access rules."""

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
    """One match of a rule: the requests that it matches, and what they need."""

    methods: (
        Annotated[
            list[str],
            Field(
                min_length=1,
                max_length=20,
                description="HTTP methods in upper case. If omitted, the match applies to every method.",
            ),
        ]
        | None
    ) = None
    path: Annotated[
        str,
        Field(
            max_length=1024,
            description="Plain segments, `{name}` for exactly one segment, and a final `/**` "
            "for all paths below.",
            json_schema_extra={"pattern": "^/"},
        ),
    ]
    scopes: Annotated[
        Names, Field(description="The scopes that the request needs. All of them are required.")
    ] = []
    resource: (
        Annotated[
            str,
            Field(
                max_length=256,
                description="The resource that the request is about. It can use names from the "
                "path: `agents/{id}`.",
            ),
        ]
        | None
    ) = None


class AccessRuleBody(StrictModel):
    """A rule for proxies.

    The first match that fits a forwarded request decides. If none fits, the request is refused.
    """

    model_config = example(
        {
            "match": [
                {"methods": ["GET"], "path": "/v1/agents", "scopes": ["read:agents"]},
                {"path": "/v1/agents/{id}/**", "scopes": ["write:agents"], "resource": "agents/{id}"},
            ]
        }
    )

    match: Annotated[list[MatchBody], Field(max_length=200)]
    project: Annotated[Name64 | None, Field(description="The project for which credentials are checked.")] = (
        None
    )
    kinds: (
        Annotated[
            list[Literal["api_key", "access_token", "session"]],
            Field(min_length=1, description="The kinds of credentials that are accepted."),
        ]
        | None
    ) = None
    organizations: (
        Annotated[
            list[Name64],
            Field(
                min_length=1,
                max_length=1000,
                description="Ids of the organizations whose credentials are accepted.",
            ),
        ]
        | None
    ) = None
    audience: (
        Annotated[
            str,
            AfterValidator(check.audience),
            Field(
                description="The audience that access tokens must have: an absolute URI. "
                "Clients can request tokens for it with the `resource` parameter. "
                "If omitted, tokens must be issued for this service.",
                json_schema_extra={"format": "uri", "maxLength": check.MAX_AUDIENCE},
            ),
        ]
        | None
    ) = None
    assertion: Annotated[
        bool,
        Field(
            description="Send a signed token to the upstream that identifies the caller. "
            "Requires `audience`, which becomes the token's audience."
        ),
    ] = False

    preflight: Annotated[
        bool,
        Field(
            description="Let OPTIONS requests without a credential pass if a match fits the "
            "path. Browsers send them before a request to another origin."
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
    """One match of a rule."""

    methods: NotRequired[list[str]]
    path: str
    scopes: NotRequired[list[str]]
    resource: NotRequired[str]


class AccessRuleJson(TypedDict):
    """A rule for proxies. Restrictions that are not set are omitted."""

    name: str
    match: list[MatchJson]
    project: NotRequired[str]
    kinds: NotRequired[list[str]]
    organizations: NotRequired[list[str]]
    audience: NotRequired[str]
    assertion: NotRequired[bool]
    preflight: NotRequired[bool]


def rule_json(name: str, rule: dict[str, Any]) -> AccessRuleJson:
    """Return a rule from its stored form. The shape was checked when the rule was written."""
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
    """Create or replace an access rule.

    The rule takes effect immediately. Needs `write:organization` in the operator's organization.
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

    Requests that a proxy checks against this rule are refused from then on. Needs `write:organization` in the
    operator's organization.
    """
    return remove(request, caller, access_rules.delete_rule, name, current=_rule(name))


def _rule(name: str) -> Resource[AccessRuleJson]:
    return lambda tx, caller: rule_json(name, access_rules.get_rule(tx, caller, name))
