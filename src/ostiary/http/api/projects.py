"""`/v1/projects`. `{project}` is an id or a code."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.http.api.route import (
    ApiRoute,
    CallerOf,
    PageOf,
    answer_one,
    body_of,
    nothing,
    perform,
    wiring,
)
from ostiary.http.api.tenant_forms import (
    ProjectBindingsBody,
    ProjectBody,
    ProjectChanges,
    project_bindings_json,
    project_json,
)
from ostiary.services import projects

router = APIRouter(prefix="/v1/projects", route_class=ApiRoute, tags=["Projects"])


@router.post("", status_code=201)
def create(
    request: Request, caller: CallerOf, body: Annotated[ProjectBody, Depends(body_of(ProjectBody))]
) -> Response:
    return perform(
        request, caller, project_json, projects.create, body.name, body.code, body.description, status=201
    )


@router.get("")
def list_projects(request: Request, caller: CallerOf, page: PageOf) -> Response:
    found = wiring(request).store.read(projects.list_page, caller, page.after, page.limit + 1)
    return page.answer([project_json(each) for each in found], lambda: found[page.limit - 1].id)


@router.get("/{project}")
def get(request: Request, caller: CallerOf, project: str) -> Response:
    return answer_one(project_json(wiring(request).store.read(projects.get, caller, project)))


@router.patch("/{project}")
def update(
    request: Request,
    caller: CallerOf,
    project: str,
    body: Annotated[ProjectChanges, Depends(body_of(ProjectChanges))],
) -> Response:
    return perform(
        request,
        caller,
        project_json,
        projects.update,
        project,
        body.changes(),
        current=lambda tx, who: project_json(projects.get(tx, who, project)),
    )


@router.delete("/{project}", status_code=204)
def delete(request: Request, caller: CallerOf, project: str) -> Response:
    perform(
        request,
        caller,
        lambda _: {},
        projects.delete,
        project,
        current=lambda tx, who: project_json(projects.get(tx, who, project)),
    )
    return nothing()


@router.get("/{project}/role-bindings")
def list_role_bindings(request: Request, caller: CallerOf, project: str) -> Response:
    return answer_one(
        project_bindings_json(wiring(request).store.read(projects.list_role_bindings, caller, project))
    )


@router.put("/{project}/role-bindings")
def set_role_bindings(
    request: Request,
    caller: CallerOf,
    project: str,
    body: Annotated[ProjectBindingsBody, Depends(body_of(ProjectBindingsBody))],
) -> Response:
    return perform(
        request,
        caller,
        project_bindings_json,
        projects.set_role_bindings,
        project,
        body.asked(),
        current=lambda tx, who: project_bindings_json(projects.list_role_bindings(tx, who, project)),
    )
