"""The metadata of an OAuth client (RFC 7591 §2), validated for each of its three sources.

`registration` is a registration request (RFC 7591 §3.1), `document` a client ID metadata document
(draft-ietf-oauth-client-id-metadata-document), `management` the management API. The JSON is parsed strictly before.
Unknown fields and null are ignored (RFC 7591 §2).

There are no client secrets. A client that cannot keep a secret is public; any other client uses a key pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from ostiary.core import check
from ostiary.core.client_keys import ClientKey, read_keys
from ostiary.core.model import AuthMethod
from ostiary.core.oauth import AUTHORIZATION_CODE, DEVICE_CODE, REFRESH_TOKEN, scope_names
from ostiary.core.redirect import MAX_REDIRECTS, host_of, private_scheme, redirect_uri
from ostiary.core.secret import looks_like_secret
from ostiary.core.url import read_url

Source = Literal["registration", "document", "management"]
MetadataErrorCode = Literal["invalid_redirect_uri", "invalid_client_metadata"]
GrantType = Literal["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
ApplicationType = Literal["web", "native"]

GRANT_TYPES: Final[tuple[GrantType, ...]] = (AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE)
UNNAMED: Final = "Unnamed client"
MAX_NAME: Final = 100
MAX_SCOPE: Final = 2_048
MAX_ENTRIES: Final = 20
MAX_DOCUMENT_URL: Final = 512
SHARED_SECRET_METHODS: Final = frozenset({"client_secret_basic", "client_secret_post", "client_secret_jwt"})


class MetadataError(ValueError):
    """The metadata is invalid (RFC 7591 §3.2.2). The description never contains a value."""

    def __init__(self, code: MetadataErrorCode, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True)
class ClientMetadata:
    """Validated metadata, as it is stored."""

    name: str
    redirect_uris: tuple[str, ...]
    """Empty only if no grant type uses redirects."""
    grant_types: tuple[GrantType, ...]
    response_types: tuple[Literal["code"], ...]
    scopes: tuple[str, ...]
    """Scope names. Some may not exist; `services.clients.of_metadata` leaves those out."""
    auth_method: AuthMethod
    jwks: tuple[ClientKey, ...] | None
    jwks_uri: str | None
    client_uri: str | None
    application_type: ApplicationType | None


def read_registration(value: Any) -> ClientMetadata:
    """Return the metadata of a registration request. Raises MetadataError.

    An authentication method with a shared secret, which is also the default (RFC 7591 §2), becomes `none`. Unsupported
    grant types are left out. The response shows the result (RFC 7591 §3.2.1).
    """
    return _read(value, "registration")


def read_document(url: str, value: Any) -> ClientMetadata:
    """Return the metadata of the document that was fetched from this URL, the client id. Raises MetadataError.

    One document serves every authorization server, so unsupported grant types are left out.
    """
    metadata = _object(value)
    if metadata.get("client_id") != url:
        raise _wrong("client_id", "must be the URL of the document, character for character")
    for name in ("client_secret", "client_secret_expires_at"):
        if name in metadata:
            raise _wrong(name, "must not be in a public document")
    return _read(metadata, "document")


def read_managed(value: Any) -> ClientMetadata:
    """Return the metadata from a request to the management API. Unsupported values are errors. Raises MetadataError."""
    return _read(value, "management")


def is_document_url(client_id: str) -> bool:
    """Return whether a client id is the URL of a metadata document that may be fetched.

    A query is refused: the draft advises against it, and it would turn one document into many clients.
    """
    if len(client_id) > MAX_DOCUMENT_URL:
        return False
    try:
        url = read_url(client_id)
    except ValueError:
        return False
    return url.scheme == "https" and url.path not in {"", "/"} and url.query is None


def _read(value: Any, source: Source) -> ClientMetadata:
    metadata = _object(value)
    grant_types = _grant_types(metadata, source)
    redirect_uris = _redirect_uris(metadata, required=AUTHORIZATION_CODE in grant_types)
    auth_method = _auth_method(metadata, source)
    jwks, jwks_uri = _keys(metadata, auth_method)
    if auth_method != "none" and any("." not in (private_scheme(each) or ".") for each in redirect_uris):
        raise MetadataError(
            "invalid_redirect_uri",
            "redirect_uris must have a dot in a private-use scheme, unless token_endpoint_auth_method is none",
        )
    return ClientMetadata(
        name=_name(metadata, redirect_uris),
        redirect_uris=redirect_uris,
        grant_types=grant_types,
        response_types=_response_types(metadata, grant_types, source),
        scopes=_scopes(metadata),
        auth_method=auth_method,
        jwks=jwks,
        jwks_uri=jwks_uri,
        client_uri=_client_uri(metadata),
        application_type=_application_type(metadata),
    )


# Fields


def _redirect_uris(metadata: Mapping[str, Any], *, required: bool) -> tuple[str, ...]:
    given = metadata.get("redirect_uris")
    if given is None:
        given = []
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise MetadataError("invalid_redirect_uri", "redirect_uris must be an array of strings")
    if len(given) > MAX_REDIRECTS:
        raise MetadataError(
            "invalid_redirect_uri", f"redirect_uris must have at most {MAX_REDIRECTS} entries"
        )
    if required and not given:
        raise MetadataError("invalid_redirect_uri", "redirect_uris must have an entry for authorization_code")
    for number, each in enumerate(given):
        try:
            redirect_uri(each)
        except ValueError as error:
            raise MetadataError(
                "invalid_redirect_uri", f"redirect_uris, entry {number + 1}, {error}"
            ) from None
    return tuple(dict.fromkeys(given))


def _grant_types(metadata: Mapping[str, Any], source: Source) -> tuple[GrantType, ...]:
    given = _texts(metadata, "grant_types")
    if given is None:
        return (AUTHORIZATION_CODE,)
    known = tuple(each for each in GRANT_TYPES if each in given)
    if source == "management" and len(known) < len(given):
        raise _wrong("grant_types", f"must contain only {', '.join(GRANT_TYPES)}")
    if not set(known) - {REFRESH_TOKEN}:
        raise _wrong("grant_types", f"must contain authorization_code or {DEVICE_CODE}")
    return known


def _response_types(
    metadata: Mapping[str, Any], grant_types: tuple[GrantType, ...], source: Source
) -> tuple[Literal["code"], ...]:
    """`code` and the grant type authorization_code require each other (RFC 7591 §2.1)."""
    codes = AUTHORIZATION_CODE in grant_types
    given = _texts(metadata, "response_types")
    if given is None:
        return ("code",) if codes else ()
    if source == "management" and set(given) - {"code"}:
        raise _wrong("response_types", "must be code")
    if ("code" in given) is not codes:
        raise _wrong(
            "response_types", "must contain code if, and only if, grant_types contains authorization_code"
        )
    return ("code",) if codes else ()


def _auth_method(metadata: Mapping[str, Any], source: Source) -> AuthMethod:
    given = _text(metadata, "token_endpoint_auth_method")
    if given is None or (source == "registration" and given in SHARED_SECRET_METHODS):
        return "none"
    if given not in {"none", "private_key_jwt"}:
        raise _wrong("token_endpoint_auth_method", "must be none or private_key_jwt")
    return cast(AuthMethod, given)


def _keys(
    metadata: Mapping[str, Any], auth_method: AuthMethod
) -> tuple[tuple[ClientKey, ...] | None, str | None]:
    jwks, jwks_uri = metadata.get("jwks"), _text(metadata, "jwks_uri")
    if jwks is not None and jwks_uri is not None:
        raise _wrong("jwks", "and jwks_uri must not both be present")
    if auth_method == "private_key_jwt" and jwks is None and jwks_uri is None:
        raise _wrong("token_endpoint_auth_method", "private_key_jwt needs jwks or jwks_uri")
    if jwks_uri is not None:
        _web("jwks_uri", jwks_uri, {"https"})
    if jwks is None:
        return None, jwks_uri
    try:
        return read_keys(jwks), None
    except ValueError as error:
        raise _wrong("jwks", str(error)) from None


def _name(metadata: Mapping[str, Any], redirect_uris: tuple[str, ...]) -> str:
    given = _text(metadata, "client_name")
    if given is None:
        return host_of(redirect_uris[0])[:MAX_NAME] if redirect_uris else UNNAMED
    try:
        name = check.display_name(given)
    except ValueError as error:
        raise _wrong("client_name", str(error)) from None
    if len(name) > MAX_NAME:
        raise _wrong("client_name", f"must have at most {MAX_NAME} characters")
    if looks_like_secret(name):
        raise _wrong("client_name", "must not be a secret: names are kept and shown")
    return name


def _scopes(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the scope names, which are separated by spaces (RFC 6749 §3.3)."""
    given = _text(metadata, "scope") or ""
    if len(given) > MAX_SCOPE:
        raise _wrong("scope", f"must have at most {MAX_SCOPE} characters")
    try:
        return scope_names(given)
    except ValueError as error:
        raise _wrong("scope", str(error)) from None


def _client_uri(metadata: Mapping[str, Any]) -> str | None:
    given = _text(metadata, "client_uri")
    if given is not None:
        _web("client_uri", given, {"http", "https"})
    return given


def _application_type(metadata: Mapping[str, Any]) -> ApplicationType | None:
    given = _text(metadata, "application_type")
    if given is None:
        return None
    if given not in {"web", "native"}:
        raise _wrong("application_type", "must be web or native")
    return cast(ApplicationType, given)


# Types


def _wrong(name: str, reason: str) -> MetadataError:
    return MetadataError("invalid_client_metadata", f"{name} {reason}")


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MetadataError("invalid_client_metadata", "the metadata must be a JSON object")
    return value


def _text(metadata: Mapping[str, Any], name: str) -> str | None:
    value = metadata.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong(name, "must be a string")
    return value


def _texts(metadata: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = metadata.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _wrong(name, "must be an array of strings")
    if len(value) > MAX_ENTRIES:
        raise _wrong(name, f"must have at most {MAX_ENTRIES} entries")
    return tuple(dict.fromkeys(value))


def _web(name: str, uri: str, schemes: set[str]) -> None:
    try:
        scheme = read_url(uri).scheme
    except ValueError as error:
        raise _wrong(name, str(error)) from None
    if scheme not in schemes:
        raise _wrong(name, "must begin with https://")
