"""`/v1/projects`. `{project}` is an id or a code."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.http.api.route import (
    Answer,
    ApiRoute,
    CallerOf,
    Listing,
    PageOf,
    answer_one,
    body_of,
    conflict,
    nothing,
    perform,
    wiring,
)
from ostiary.http.api.tenant_forms import (
    ProjectBindingsBody,
    ProjectBindingsJson,
    ProjectBody,
    ProjectChanges,
    ProjectJson,
    project_bindings_json,
    project_json,
)
from ostiary.services import projects

router = APIRouter(prefix="/v1/projects", route_class=ApiRoute, tags=["Projects"])


@router.post(
    "",
    status_code=201,
    responses=conflict("The code is taken, or was before its project was deleted."),
)
def create_project(
    request: Request, caller: CallerOf, body: Annotated[ProjectBody, Depends(body_of(ProjectBody))]
) -> Answer[ProjectJson]:
    """Make a project.

    Its code is fixed, and never given out again. Needs `write:projects`.
    """
    return perform(
        request, caller, project_json, projects.create, body.name, body.code, body.description, status=201
    )


@router.get("")
def list_projects(request: Request, caller: CallerOf, page: PageOf) -> Answer[Listing[ProjectJson]]:
    """List the organization's projects, newest first.

    Needs `read:projects`.
    """
    found = wiring(request).store.read(projects.list_page, caller, page.after, page.limit + 1)
    return page.answer([project_json(each) for each in found], lambda: found[page.limit - 1].id)


@router.get("/{project}")
def get_project(request: Request, caller: CallerOf, project: str) -> Answer[ProjectJson]:
    """Show a project.

    Needs `read:projects`.
    """
    return answer_one(project_json(wiring(request).store.read(projects.get, caller, project)))


@router.patch("/{project}")
def update_project(
    request: Request,
    caller: CallerOf,
    project: str,
    body: Annotated[ProjectChanges, Depends(body_of(ProjectChanges))],
) -> Answer[ProjectJson]:
    """Change a project's name or description.

    Needs `write:projects`.
    """
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
def delete_project(request: Request, caller: CallerOf, project: str) -> Response:
    """Delete a project.

    Its role bindings go with it, and credentials that are bound to it are revoked. Needs `write:projects`.
    """
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
def list_project_bindings(request: Request, caller: CallerOf, project: str) -> Answer[ProjectBindingsJson]:
    """List who has which role on a project.

    Needs `read:projects`.
    """
    return answer_one(
        project_bindings_json(wiring(request).store.read(projects.list_role_bindings, caller, project))
    )


@router.put("/{project}/role-bindings")
def set_project_bindings(
    request: Request,
    caller: CallerOf,
    project: str,
    body: Annotated[ProjectBindingsBody, Depends(body_of(ProjectBindingsBody))],
) -> Answer[ProjectBindingsJson]:
    """Replace all role bindings of a project.

    Whoever gives or takes a role holds every scope of it. Needs `write:projects`.
    """
    return perform(
        request,
        caller,
        project_bindings_json,
        projects.set_role_bindings,
        project,
        body.asked(),
        current=lambda tx, who: project_bindings_json(projects.list_role_bindings(tx, who, project)),
    )
