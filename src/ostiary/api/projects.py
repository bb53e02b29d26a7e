"""`/v1/projects`. `{project}` is an id or a code."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.api.route import (
    Answer,
    ApiRoute,
    CallerOf,
    Listing,
    PageOf,
    Resource,
    body_of,
    conflict,
    perform,
    remove,
    resource,
    show,
)
from ostiary.api.tenant_forms import (
    ProjectBindingsBody,
    ProjectBindingsJson,
    ProjectBody,
    ProjectChanges,
    ProjectJson,
    project_bindings_json,
    project_json,
)
from ostiary.http.routing import wiring
from ostiary.services import projects

router = APIRouter(prefix="/v1/projects", route_class=ApiRoute, tags=["Projects"])


@router.post(
    "",
    status_code=201,
    responses=conflict("The code is taken, or belonged to a deleted project."),
)
def create_project(
    request: Request, caller: CallerOf, body: Annotated[ProjectBody, Depends(body_of(ProjectBody))]
) -> Answer[ProjectJson]:
    """Create a project.

    Its code cannot be changed, and is never reused. Needs `write:projects`.
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
    return page.answer(found, project_json, lambda each: each.id)


@router.get("/{project}")
def get_project(request: Request, caller: CallerOf, project: str) -> Answer[ProjectJson]:
    """Show a project.

    Needs `read:projects`.
    """
    return show(request, caller, _project(project))


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
        current=_project(project),
    )


@router.delete("/{project}", status_code=204)
def delete_project(request: Request, caller: CallerOf, project: str) -> Response:
    """Delete a project.

    Its role bindings are deleted, and credentials that are limited to it are revoked. Needs `write:projects`,
    and every scope of the roles on it. If an organization admin owns one of these credentials, the caller
    needs every scope that the admin holds.
    """
    return remove(request, caller, projects.delete, project, current=_project(project))


@router.get("/{project}/role-bindings")
def list_project_bindings(request: Request, caller: CallerOf, project: str) -> Answer[ProjectBindingsJson]:
    """List the role bindings of a project.

    Needs `read:projects`.
    """
    return show(request, caller, _bindings(project))


@router.put("/{project}/role-bindings")
def set_project_bindings(
    request: Request,
    caller: CallerOf,
    project: str,
    body: Annotated[ProjectBindingsBody, Depends(body_of(ProjectBindingsBody))],
) -> Answer[ProjectBindingsJson]:
    """Replace all role bindings of a project.

    The caller must hold every scope of each role that is added or removed. Needs `write:projects`.
    """
    return perform(
        request,
        caller,
        project_bindings_json,
        projects.set_role_bindings,
        project,
        body.asked(),
        current=_bindings(project),
    )


def _project(project: str) -> Resource[ProjectJson]:
    return resource(project_json, projects.get, project)


def _bindings(project: str) -> Resource[ProjectBindingsJson]:
    return resource(project_bindings_json, projects.list_role_bindings, project)
