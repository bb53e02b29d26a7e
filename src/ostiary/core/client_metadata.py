"""What an application says of itself (RFC 7591 §2), from whichever of three places it says it.

`registration` is a request to register (RFC 7591 §3.1), `document` a client-id metadata document
(draft-ietf-oauth-client-id-metadata-document), `management` our own API. JSON was read strictly before. Members that
nobody knows are ignored (RFC 7591 §2), and so is null. There are no client secrets: an application that runs where it
cannot keep one is public, and one that can keep one has a key pair.
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
Code = Literal["invalid_redirect_uri", "invalid_client_metadata"]
GrantType = Literal["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
ApplicationType = Literal["web", "native"]

GRANT_TYPES: Final[tuple[GrantType, ...]] = (AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE)
UNNAMED: Final = "Unnamed client"
MAX_NAME: Final = 100
MAX_SCOPE: Final = 2_048
MAX_ENTRIES: Final = 20
MAX_DOCUMENT_URL: Final = 512
SHARED_SECRET: Final = frozenset({"client_secret_basic", "client_secret_post", "client_secret_jwt"})


class MetadataError(ValueError):
    """Metadata that is not taken (RFC 7591 §3.2.2). The description never holds a value."""

    def __init__(self, code: Code, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True)
class ClientMetadata:
    """A client as it is kept, everything checked."""

    name: str
    redirect_uris: tuple[str, ...]
    """Empty only where no grant type leads back by one."""
    grant_types: tuple[GrantType, ...]
    response_types: tuple[Literal["code"], ...]
    scopes: tuple[str, ...]
    """Names, of which some may not exist: `services.clients.of_metadata` leaves those out."""
    auth_method: AuthMethod
    jwks: tuple[ClientKey, ...] | None
    jwks_uri: str | None
    client_uri: str | None
    application_type: ApplicationType | None


def read_registration(members: Any) -> ClientMetadata:
    """The metadata of a registration request. Raises MetadataError.

    A method with a shared secret, which is also the default (RFC 7591 §2), becomes `none`; grant types that we do not
    know are left out. The answer to the request says so (RFC 7591 §3.2.1).
    """
    return _read(members, "registration")


def read_document(url: str, members: Any) -> ClientMetadata:
    """The metadata of the document that was fetched from this client id. Raises MetadataError.

    It was written for every authorization server alike, so grant types that we do not know are left out.
    """
    found = _object(members)
    if found.get("client_id") != url:
        raise _wrong("client_id", "must be the URL of the document, character for character")
    for name in ("client_secret", "client_secret_expires_at"):
        if name in found:
            raise _wrong(name, "must not stand in a document that everybody may read")
    return _read(found, "document")


def read_managed(members: Any) -> ClientMetadata:
    """The metadata that a person gave to the management API, where nothing is replaced. Raises MetadataError."""
    return _read(members, "management")


def is_document_url(client_id: str) -> bool:
    """Whether a client id is the URL of a metadata document, and may be fetched.

    No query: the draft advises against it, and it would make many clients of one document.
    """
    if len(client_id) > MAX_DOCUMENT_URL:
        return False
    try:
        url = read_url(client_id)
    except ValueError:
        return False
    return url.scheme == "https" and url.path not in {"", "/"} and url.query is None


def _read(members: Any, source: Source) -> ClientMetadata:
    found = _object(members)
    grant_types = _grant_types(found, source)
    redirect_uris = _redirect_uris(found, required=AUTHORIZATION_CODE in grant_types)
    auth_method = _auth_method(found, source)
    jwks, jwks_uri = _keys(found, auth_method)
    if auth_method != "none" and any("." not in (private_scheme(each) or ".") for each in redirect_uris):
        raise MetadataError(
            "invalid_redirect_uri",
            "redirect_uris must have a dot in the scheme of the application's own, unless "
            "token_endpoint_auth_method is none",
        )
    return ClientMetadata(
        name=_name(found, redirect_uris),
        redirect_uris=redirect_uris,
        grant_types=grant_types,
        response_types=_response_types(found, grant_types, source),
        scopes=_scopes(found),
        auth_method=auth_method,
        jwks=jwks,
        jwks_uri=jwks_uri,
        client_uri=_client_uri(found),
        application_type=_application_type(found),
    )


# Members


def _redirect_uris(members: Mapping[str, Any], *, required: bool) -> tuple[str, ...]:
    given = members.get("redirect_uris")
    if given is None:
        given = []
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise MetadataError("invalid_redirect_uri", "redirect_uris must be a list of texts")
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


def _grant_types(members: Mapping[str, Any], source: Source) -> tuple[GrantType, ...]:
    given = _texts(members, "grant_types")
    if given is None:
        return (AUTHORIZATION_CODE,)
    known = tuple(each for each in GRANT_TYPES if each in given)
    if source == "management" and len(known) < len(given):
        raise _wrong("grant_types", f"must be of {', '.join(GRANT_TYPES)}")
    if not set(known) - {REFRESH_TOKEN}:
        raise _wrong("grant_types", f"must have authorization_code or {DEVICE_CODE}")
    return known


def _response_types(
    members: Mapping[str, Any], grant_types: tuple[GrantType, ...], source: Source
) -> tuple[Literal["code"], ...]:
    """`code` goes with authorization_code, and the other way round (RFC 7591 §2.1)."""
    codes = AUTHORIZATION_CODE in grant_types
    given = _texts(members, "response_types")
    if given is None:
        return ("code",) if codes else ()
    if source == "management" and set(given) - {"code"}:
        raise _wrong("response_types", "must be code")
    if ("code" in given) is not codes:
        raise _wrong("response_types", "must have code if grant_types has authorization_code, and only then")
    return ("code",) if codes else ()


def _auth_method(members: Mapping[str, Any], source: Source) -> AuthMethod:
    given = _text(members, "token_endpoint_auth_method")
    if given is None or (source == "registration" and given in SHARED_SECRET):
        return "none"
    if given not in {"none", "private_key_jwt"}:
        raise _wrong("token_endpoint_auth_method", "must be none or private_key_jwt")
    return cast(AuthMethod, given)


def _keys(
    members: Mapping[str, Any], auth_method: AuthMethod
) -> tuple[tuple[ClientKey, ...] | None, str | None]:
    jwks, jwks_uri = members.get("jwks"), _text(members, "jwks_uri")
    if jwks is not None and jwks_uri is not None:
        raise _wrong("jwks", "and jwks_uri must not both be there")
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


def _name(members: Mapping[str, Any], redirect_uris: tuple[str, ...]) -> str:
    given = _text(members, "client_name")
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


def _scopes(members: Mapping[str, Any]) -> tuple[str, ...]:
    """Names, separated by spaces (RFC 6749 §3.3)."""
    given = _text(members, "scope") or ""
    if len(given) > MAX_SCOPE:
        raise _wrong("scope", f"must have at most {MAX_SCOPE} characters")
    try:
        return scope_names(given)
    except ValueError as error:
        raise _wrong("scope", str(error)) from None


def _client_uri(members: Mapping[str, Any]) -> str | None:
    given = _text(members, "client_uri")
    if given is not None:
        _web("client_uri", given, {"http", "https"})
    return given


def _application_type(members: Mapping[str, Any]) -> ApplicationType | None:
    given = _text(members, "application_type")
    if given is None:
        return None
    if given not in {"web", "native"}:
        raise _wrong("application_type", "must be web or native")
    return cast(ApplicationType, given)


# Forms


def _wrong(name: str, reason: str) -> MetadataError:
    return MetadataError("invalid_client_metadata", f"{name} {reason}")


def _object(members: Any) -> Mapping[str, Any]:
    if not isinstance(members, Mapping):
        raise MetadataError("invalid_client_metadata", "the metadata must be a JSON object")
    return members


def _text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong(name, "must be a text")
    return value


def _texts(members: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _wrong(name, "must be a list of texts")
    if len(value) > MAX_ENTRIES:
        raise _wrong(name, f"must have at most {MAX_ENTRIES} entries")
    return tuple(dict.fromkeys(value))


def _web(name: str, text: str, schemes: set[str]) -> None:
    try:
        scheme = read_url(text).scheme
    except ValueError as error:
        raise _wrong(name, str(error)) from None
    if scheme not in schemes:
        raise _wrong(name, "must begin with https://")
