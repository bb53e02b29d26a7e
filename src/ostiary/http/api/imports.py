"""`/v1/credentials/import`, and `/v1/import-prefixes`: how keys begin that may be imported."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from ostiary.core import check
from ostiary.core.instant import from_text
from ostiary.core.model import ImportedKey
from ostiary.http.api.forms import DisplayName, Expiry
from ostiary.http.api.route import (
    ApiRoute,
    CallerOf,
    StrictModel,
    answer,
    body_of,
    nothing,
    perform,
    wiring,
)
from ostiary.services import imports
from ostiary.services.imports import MAX_KEYS, Imported

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Import"])


def _sha256(text: str) -> str:
    check.sha256(text)
    return text


ImportPrefix = Annotated[str, AfterValidator(check.import_prefix), Field(examples=["sk_live_"])]


class KeyBody(StrictModel):
    """A key of another system: the SHA-256 of the whole string, in hexadecimal."""

    sha256: Annotated[str, AfterValidator(_sha256)]
    name: DisplayName | None = None
    expires_at: Expiry | None = None

    def key(self) -> ImportedKey:
        expires_at = None if self.expires_at is None else from_text(self.expires_at)
        return ImportedKey(check.sha256(self.sha256), self.name, expires_at)


class ImportBody(StrictModel):
    """Keys to be imported for one service account."""

    prefix: ImportPrefix
    owner: Annotated[str, Field(min_length=1, max_length=256)]
    keys: Annotated[list[KeyBody], Field(min_length=1, max_length=MAX_KEYS)]
    exceed_limits: bool = False


class PrefixBody(StrictModel):
    """How keys of another system begin."""

    prefix: ImportPrefix


@router.post("/credentials/import")
def import_keys(
    request: Request, caller: CallerOf, body: Annotated[ImportBody, Depends(body_of(ImportBody))]
) -> Response:
    keys = [each.key() for each in body.keys]
    return perform(
        request, caller, _told, imports.import_keys, body.owner, body.prefix, keys, body.exceed_limits
    )


def _told(imported: Imported) -> dict[str, Any]:
    return {
        "imported": imported.count,
        "skipped": len(imported.credential_ids) - imported.count,
        # One for each key, in order; null where it was skipped.
        "credentials": list(imported.credential_ids),
    }


@router.get("/import-prefixes")
def list_prefixes(request: Request, caller: CallerOf) -> Response:
    found = wiring(request).store.read(imports.list_prefixes, caller)
    return answer({"data": [{"prefix": each} for each in found], "next_cursor": None})


@router.post("/import-prefixes", status_code=201)
def register_prefix(
    request: Request, caller: CallerOf, body: Annotated[PrefixBody, Depends(body_of(PrefixBody))]
) -> Response:
    return perform(
        request, caller, lambda each: {"prefix": each}, imports.register_prefix, body.prefix, status=201
    )


@router.delete("/import-prefixes/{prefix}", status_code=204)
def unregister_prefix(request: Request, caller: CallerOf, prefix: str) -> Response:
    perform(request, caller, lambda _: {}, imports.unregister_prefix, prefix)
    return nothing()
