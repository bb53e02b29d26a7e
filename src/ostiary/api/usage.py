"""`/v1/usage`: how often credentials were accepted and refused."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import WithJsonSchema
from starlette.requests import Request
from typing_extensions import TypedDict

from ostiary.api.forms import INSTANT, Time, instant
from ostiary.api.route import Answer, ApiRoute, CallerOf, answer
from ostiary.core.instant import to_text
from ostiary.core.problem import FieldError, invalid_fields
from ostiary.http.routing import wiring
from ostiary.services import usage
from ostiary.services.usage import Interval, Report, UsageQuery

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Usage"])


UsageNumbersJson = TypedDict(
    "UsageNumbersJson",
    {"from": Time, "accepted": int, "refused": Mapping[str, int]},
)


class UsageTotalsJson(TypedDict):
    """The totals for the whole period."""

    accepted: int
    refused: Mapping[str, int]
    """The number of refusals by reason."""
    via: Mapping[str, int]
    """Accepted and refused uses together, by the endpoint that received the credential."""


class UsageJson(TypedDict):
    """Every hour or day of the requested period, oldest first, including those without use."""

    data: list[UsageNumbersJson]
    totals: UsageTotalsJson


def usage_json(report: Report) -> UsageJson:
    return {
        "data": [
            {"from": to_text(at), "accepted": each.accepted, "refused": each.refused}
            for at, each in report.stretches
        ],
        "totals": {"accepted": report.total.accepted, "refused": report.total.refused, "via": report.via},
    }


@router.get("/usage")
def get_usage(
    request: Request,
    caller: CallerOf,
    credential: Annotated[str | None, Query(description="Only uses of the credential with this id.")] = None,
    service_account: Annotated[
        str | None,
        Query(description="Only uses by this account: its id, client id or channel identifier."),
    ] = None,
    since: Annotated[
        str | None,
        Query(
            description="Start with the hour or day that contains this instant. Default: 24 "
            "hours or 30 days ago."
        ),
        INSTANT,
    ] = None,
    until: Annotated[
        str | None,
        Query(description="Stop before this instant, rounded up to a whole hour or day. Default: now."),
        INSTANT,
    ] = None,
    interval: Annotated[
        str | None,
        Query(
            description=f"At most {usage.LONGEST['hour']} hours or {usage.LONGEST['day']} days per request."
        ),
        WithJsonSchema({"type": "string", "enum": list(usage.LENGTHS), "default": "hour"}),
    ] = None,
) -> Answer[UsageJson]:
    """Show how often credentials were used.

    The numbers of accepted and refused uses are given per hour or day, in UTC. They are written every ten
    seconds and kept for 90 days. The organization's numbers include refusals that belong to none of its
    credentials. Needs `read:usage`.
    """
    errors: list[FieldError] = []
    first, last = instant("/since", since, errors), instant("/until", until, errors)
    asked: Interval = "day" if interval == "day" else "hour"
    if interval not in (None, *usage.LENGTHS):
        errors.append(FieldError("/interval", "invalid", "must be hour or day"))
    if errors:
        raise invalid_fields(tuple(errors))
    wanted = UsageQuery(credential, service_account, first, last, asked)
    return answer(usage_json(wiring(request).store.read(usage.report, caller, wanted)))
