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
    """The sums of the whole time."""

    accepted: int
    refused: Mapping[str, int]
    """By reason."""
    via: Mapping[str, int]
    """Accepted and refused ones together, by the address that they were presented at."""


class UsageJson(TypedDict):
    """Every hour or day of the time that was asked for, oldest first, also those in which nothing was used."""

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
    credential: Annotated[str | None, Query(description="Only of this credential: its id.")] = None,
    service_account: Annotated[
        str | None,
        Query(description="Only of this account: its id, client id or channel identifier."),
    ] = None,
    since: Annotated[
        str | None,
        Query(
            description="From the hour or day in which this instant lies. Default: 24 hours or 30 days ago."
        ),
        INSTANT,
    ] = None,
    until: Annotated[
        str | None,
        Query(description="Before this instant, rounded up to a whole hour or day. Default: now."),
        INSTANT,
    ] = None,
    interval: Annotated[
        str | None,
        Query(
            description=f"At most {usage.LONGEST['hour']} hours or {usage.LONGEST['day']} days are told at once."
        ),
        WithJsonSchema({"type": "string", "enum": list(usage.LENGTHS), "default": "hour"}),
    ] = None,
) -> Answer[UsageJson]:
    """See how often credentials were used.

    How many uses were accepted and refused, by the hour or the day, in UTC. Numbers are written every ten seconds and
    kept for 90 days. Those of the whole organization include refusals of what was nobody's. Needs `read:usage`.
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
