"""`/v1/credentials/import` and `/v1/import-prefixes`: keys of other systems, and the prefixes that such keys
can have.
"""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from ostiary.api.forms import DisplayName
from ostiary.api.route import (
    Answer,
    ApiRoute,
    CallerOf,
    Listing,
    StrictModel,
    answer,
    answer_all,
    body_of,
    conflict,
    example,
    perform,
    remove,
)
from ostiary.core import check
from ostiary.core.import_file import ImportedKey, ImportOutcome
from ostiary.core.instant import expiry_from_text
from ostiary.http.routing import wiring
from ostiary.services import imports
from ostiary.services.imports import MAX_KEYS, Imported

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Import"])


def _sha256(text: str) -> str:
    check.sha256(text)
    return text


ImportPrefix = Annotated[
    str,
    AfterValidator(check.import_prefix),
    Field(description="The prefix of the keys.", json_schema_extra={"pattern": check.IMPORT_PREFIX}),
]


def _expiry(text: str) -> str:
    expiry_from_text(text)
    return text


class KeyBody(StrictModel):
    """A key of another system: the SHA-256 of the full key, in hexadecimal or base64."""

    sha256: Annotated[str, AfterValidator(_sha256), Field(json_schema_extra={"pattern": check.SHA256})]
    name: DisplayName | None = None
    expires_at: (
        Annotated[
            str,
            AfterValidator(_expiry),
            Field(
                description="When the key expires: RFC 3339 with a zone, or a date, which means its first moment in UTC. An "
                "expired key is skipped. The default is the policy's."
            ),
        ]
        | None
    ) = None

    @field_validator("name")
    @classmethod
    def _not_the_key(cls, name: str | None, info: ValidationInfo) -> str | None:
        digest = info.data.get("sha256")
        return name if name is None or digest is None else check.key_name(name, check.sha256(digest))

    def key(self) -> ImportedKey:
        expires_at = None if self.expires_at is None else expiry_from_text(self.expires_at)
        return ImportedKey(check.sha256(self.sha256), self.name, expires_at)


class ImportBody(StrictModel):
    """The keys to import for one service account."""

    model_config = example(
        {
            "prefix": "sk_live_",
            "owner": "$account",
            "keys": [
                {
                    "sha256": "3f0a377ba0a4a460ecb616f6507ce0d8cfa3e704025d4fda3ed0c5ca05468728",
                    "name": "billing",
                }
            ],
        }
    )

    prefix: ImportPrefix
    owner: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            description="The service account's id, client id or channel identifier.",
        ),
    ]
    keys: Annotated[list[KeyBody], Field(min_length=1, max_length=MAX_KEYS)]
    exceed_limits: Annotated[
        bool, Field(description="Import even if a limit is exceeded. Only for operator admins.")
    ] = False
    dry_run: Annotated[
        bool, Field(description="Return the outcome that each key would have, and change nothing.")
    ] = False


class PrefixBody(StrictModel):
    """The prefix of keys of another system."""

    model_config = example({"prefix": "sk_test_"})

    prefix: ImportPrefix


class ImportedJson(TypedDict):
    """The result of an import."""

    imported: int
    skipped: int
    """How many keys were skipped."""
    credentials: list[str | None]
    """The credential's id for each key, in order; null where it was skipped, and in a dry run."""
    outcomes: list[ImportOutcome]
    """The outcome of each key, in order. A key is skipped if its digest exists, if it is repeated in the batch, if it
    has expired, or if the policy does not allow its lifetime."""


class PrefixJson(TypedDict):
    """The prefix of keys of another system."""

    prefix: str


@router.post("/credentials/import", responses=conflict("The limit on the number of credentials is reached."))
def import_keys(
    request: Request, caller: CallerOf, body: Annotated[ImportBody, Depends(body_of(ImportBody))]
) -> Answer[ImportedJson]:
    """Import keys of another system by their SHA-256.

    The keys are then verified unchanged. A key that cannot be imported is skipped, so you can send a batch
    again at any time. The body can have up to 2 MiB. Needs `write:credentials`, and every scope that the
    account can use.
    """
    given = body.owner, body.prefix, [each.key() for each in body.keys], body.exceed_limits
    if body.dry_run:
        return answer(_told(wiring(request).store.read(imports.dry_run, caller, *given)))
    return perform(request, caller, _told, imports.import_keys, *given)


def _told(imported: Imported) -> ImportedJson:
    return {
        "imported": imported.count,
        "skipped": len(imported.credential_ids) - imported.count,
        "credentials": list(imported.credential_ids),
        "outcomes": list(imported.outcomes),
    }


@router.get("/import-prefixes")
def list_import_prefixes(request: Request, caller: CallerOf) -> Answer[Listing[PrefixJson]]:
    """List the prefixes of keys that can be imported.

    Needs `read:credentials`.
    """
    found = wiring(request).store.read(imports.list_prefixes, caller)
    return answer_all([PrefixJson(prefix=each) for each in found])


@router.post(
    "/import-prefixes", status_code=201, responses=conflict("The limit on the number of prefixes is reached.")
)
def register_import_prefix(
    request: Request, caller: CallerOf, body: Annotated[PrefixBody, Depends(body_of(PrefixBody))]
) -> Answer[PrefixJson]:
    """Register a prefix of keys that can be imported.

    A prefix is refused if it overlaps the format of this service's own secrets. Registering it again has no
    effect. Needs `write:organization` in the operator's organization.
    """
    return perform(
        request,
        caller,
        lambda each: PrefixJson(prefix=each),
        imports.register_prefix,
        body.prefix,
        status=201,
    )


@router.delete("/import-prefixes/{prefix}", status_code=204)
def unregister_import_prefix(request: Request, caller: CallerOf, prefix: str) -> Response:
    """Remove a prefix of imported keys.

    Keys with this prefix are no longer looked up. The imported keys are kept, and are refused until the
    prefix is registered again. Needs `write:organization` in the operator's organization.
    """
    return remove(request, caller, imports.unregister_prefix, prefix)
