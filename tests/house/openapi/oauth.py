"""OAuth endpoints in the OpenAPI document. They have no routes: their text is written here, their examples are tested."""

import base64
from typing import Any, Final

from ostiary.core.access_token import ALIAS
from ostiary.core.oauth import CLI, CLIENT_ASSERTION, CLIENT_CREDENTIALS, TOKEN_PATH
from ostiary.http import messages, oauth_error
from ostiary.http.oauth_error import CODES, OAuthError
from ostiary.oauth.endpoints import REVOCATION
from ostiary.oauth.grants import ACCESS_TOKEN, GRANTS
from ostiary.oauth.metadata import DEVICE_AUTHORIZATION, DOCUMENTS
from ostiary.oauth.registration import PATH as REGISTRATION
from ostiary.oauth.token import ALIAS_PATH
from tests.house.openapi import words
from tests.house.openapi.examples import Studio

Json = dict[str, Any]

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
INTROSPECTION: Final = "/oauth/introspect"

SECURITY: Final[dict[str, Json]] = {
    "Client": {
        "type": "http",
        "scheme": "basic",
        "description": "A client's id and secret, at the addresses of OAuth only.",
    }
}
CLIENT: Final[list[Json]] = [{"Client": []}, {}]
ANYBODY: Final[list[Json]] = [{"Client": []}, *({name: []} for name in words.SECURITY), {}]

BODIES: Final[dict[str, Json]] = {
    # The JSON request bodies of the examples. Members use the names of the house.
    TOKEN_PATH: {
        "grant_type": CLIENT_CREDENTIALS,
        "client_id": "$client_id",
        "client_secret": "$client_secret",
        "scope": "read:agents",
    },
    ALIAS_PATH: {
        "grant_type": CLIENT_CREDENTIALS,
        "client_id": "$client_id",
        "client_secret": "$client_secret",
        "scope": "m2m",
    },
    INTROSPECTION: {"token": "$token"},
    DEVICE_AUTHORIZATION: {"client_id": CLI, "scope": "api offline_access"},
    **{path: {"token": "$token"} for path in REVOCATION},
}


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


def _object(required: tuple[str, ...], **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


_CLIENT: Final = {
    "client_id": _text("The client: `ostiary-sa-…`. Not needed beside HTTP Basic or an assertion."),
    "client_secret": _text("The client's secret, unless HTTP Basic has it."),
}
_ASSERTION: Final = {
    "client_assertion": _text("A JWT that a key file of the client signed, in place of a secret; good once."),
    "client_assertion_type": _text("Beside `client_assertion`.", const=CLIENT_ASSERTION),
}
_SCOPE: Final = _text(
    "Scopes, separated by spaces; each must be held. Without it `api`: all that is allowed at the moment of use."
)
_RESOURCE: Final = {
    "type": ["string", "array"],
    "items": {"type": "string"},
    "description": "For which API the token is meant (RFC 8707): the issuer, or the audience of an access rule. It may "
    "stand several times in a form, and be a list in JSON. Without it, the issuer.",
}
_ISSUED: Final = {
    "access_token": _text("The token: a JWT (RFC 9068)."),
    "token_type": {"const": "Bearer"},
    "expires_in": {"type": "integer", "description": "Seconds."},
    "scope": _text("What was granted, separated by spaces."),
}
_TEXTS: Final[Json] = {"type": "array", "items": {"type": "string"}}
_METADATA: Final[dict[str, Json]] = {
    "client_name": _text("What people read when it asks them."),
    "redirect_uris": _TEXTS | {"description": "Where people may be sent back to: 10 at most."},
    "grant_types": _TEXTS | {"description": "How it gets tokens. Without it `authorization_code`."},
    "token_endpoint_auth_method": _text(
        "`none` or `private_key_jwt`. There are no client secrets: where one is asked for, it becomes `none`."
    ),
    "scope": _text("What it may ask for, separated by spaces. Without it, anything the person holds."),
    "jwks": {"type": "object", "description": "Its public keys, a JWK Set."},
    "jwks_uri": _text("Where they are instead."),
    "client_uri": _text("Its page, for people."),
    "application_type": _text("", enum=["web", "native"]),
}
_SECONDS: Final = "In seconds since 1970"

SCHEMAS: Final[dict[str, Json]] = {
    "OAuthError": _object(
        ("error", "error_description"),
        error={"enum": list(CODES), "description": "What programs decide by."},
        error_description=_text("What to change, for people."),
    ),
    "TokenRequest": _object(
        ("grant_type",),
        grant_type=_text("What is traded.", enum=list(GRANTS)),
        scope=_SCOPE,
        resource=_RESOURCE,
        **_CLIENT,
        **_ASSERTION,
        device_code=_text("`device_code`: what the device was given (RFC 8628)."),
        assertion=_text("`jwt-bearer`: a JWT that a key file signed (RFC 7523); good once."),
        subject_token=_text("`token-exchange`: the API key or access token that is traded (RFC 8693)."),
        subject_token_type=_text("`token-exchange`: required.", const=ACCESS_TOKEN),
        requested_token_type=_text("`token-exchange`: may be left out.", const=ACCESS_TOKEN),
    ),
    "MachineTokenRequest": _object(
        ("grant_type",),
        grant_type=_text("What is traded.", enum=[CLIENT_CREDENTIALS]),
        scope=_SCOPE,
        resource=_RESOURCE,
        **_CLIENT,
        **_ASSERTION,
    ),
    "TokenAnswer": _object(
        ("access_token", "token_type", "expires_in", "scope"),
        **_ISSUED,
        issued_token_type=_text("After `token-exchange`.", const=ACCESS_TOKEN),
    ),
    "IntrospectionRequest": _object(
        ("token",),
        token=_text("An access token, a session or an API key."),
        token_type_hint=_text("Passed over: the form of a token says what it is."),
        ip=_text("In a form: the address of whoever showed it. A credential with an allow-list needs it."),
        **_CLIENT,
    ),
    "IntrospectionAnswer": _object(
        ("active",),
        active={"type": "boolean", "description": "Whether it is good now. If not, nothing else is said."},
        scope=_text(
            "What was granted by name and, in answer to a form, what that means in the organization."
        ),
        expires_at={"type": "integer", "description": f"In answer to JSON. {_SECONDS}."},
        exp={"type": "integer", "description": f"In answer to a form, like all below. {_SECONDS}."},
        iat={"type": "integer", "description": f"Of a token. {_SECONDS}."},
        client_id=_text("The client, or the id of the user whose key it is."),
        token_type=_text("", enum=["Bearer", "ApiKey"]),
        sub=_text("The id of the service account or user."),
        iss=_text("Who issued it."),
        aud={
            "type": ["string", "array"],
            "items": {"type": "string"},
            "description": "Whom it is meant for.",
        },
        jti=_text("The token's id."),
        account_id=_text("The organization's id."),
        username=_text("The account's or user's name."),
        credential_id=_text("The credential that it came from."),
    ),
    "RevocationRequest": _object(
        ("token",),
        token=_text("An access token or a session."),
        token_type_hint=_text("Passed over: the form of a token says what it is."),
        **_CLIENT,
    ),
    "DeviceRequest": _object(
        ("client_id",),
        client_id=_text("The client: `ostiary-cli`, `app_…`, or the address of its metadata document."),
        scope=_text(
            "Scopes, separated by spaces. Without it what the client is registered for, or `api`. `offline_access` asks "
            "for a refresh token."
        ),
        resource=_RESOURCE,
        **_ASSERTION,
    ),
    "DeviceAnswer": _object(
        (
            "device_code",
            "user_code",
            "verification_uri",
            "verification_uri_complete",
            "expires_in",
            "interval",
        ),
        device_code=_text("What the device asks the token endpoint with. It stays with the device."),
        user_code=_text("What the person enters, as it is shown: `WDJB-MJHT`."),
        verification_uri=_text("Where the person enters it."),
        verification_uri_complete=_text("The same with the code filled in. The page asks all the same."),
        expires_in={"type": "integer", "description": "Seconds for which both codes are good."},
        interval={"type": "integer", "description": "Seconds to wait between two questions."},
    ),
    "ClientMetadata": _object((), **_METADATA),
    "ClientRegistration": _object(
        ("client_id", "client_id_issued_at", "redirect_uris", "grant_types", "token_endpoint_auth_method"),
        client_id=_text("What it calls itself from then on."),
        client_id_issued_at={"type": "integer", "description": f"{_SECONDS}."},
        response_types=_TEXTS | {"description": "`code` with `authorization_code`."},
        **_METADATA,
    ),
    "PublishedKeys": _object(
        ("keys",),
        keys={
            "type": "array",
            "description": "The newest first.",
            "items": _object(
                ("kty", "kid", "use", "alg"),
                kty=_text("", enum=["EC", "OKP", "RSA"]),
                kid=_text("The key's id, as in the header of what it signed."),
                use={"const": "sig"},
                alg=_text("", enum=["ES256", "EdDSA", "RS256"]),
                crv=_text("Of EC and OKP."),
                x=_text("Of EC and OKP."),
                y=_text("Of EC."),
                n=_text("Of RSA."),
                e=_text("Of RSA."),
            ),
        },
    ),
    "ServerMetadata": _object(
        ("issuer", "token_endpoint", "jwks_uri", "response_types_supported", "grant_types_supported"),
        issuer=_text("What `iss` of the tokens is, and `aud` of assertions may be."),
        token_endpoint=_text("Where tokens are issued."),
        jwks_uri=_text("Where the keys are that verify them."),
        introspection_endpoint=_text("Where to ask about a token."),
        revocation_endpoint=_text("Where a token is ended."),
        device_authorization_endpoint=_text("Where a device asks for access. Of the service's own issuer."),
        **{
            name: {"type": "array", "items": {"type": "string"}, "description": about}
            for name, about in {
                "response_types_supported": "None: there is no authorization endpoint.",
                "grant_types_supported": "What the token endpoint trades.",
                "scopes_supported": "What may be asked for.",
                "token_endpoint_auth_methods_supported": "How clients prove who they are.",
                "token_endpoint_auth_signing_alg_values_supported": "What assertions may be signed with.",
                "introspection_endpoint_auth_methods_supported": "How to authenticate there.",
                "revocation_endpoint_auth_methods_supported": "How to authenticate there.",
            }.items()
        },
        registration_endpoint=_text(
            "Where clients register themselves, unless the operator turned that off."
        ),
        client_id_metadata_document_supported={
            "type": "boolean",
            "description": "Whether a client id may be the address of a document about the client.",
        },
        service_documentation=_text("The documentation."),
    ),
}


def _refusal(error: OAuthError, about: str) -> Json:
    _, fields, body = messages.unwire(oauth_error.wire(error))
    sent = {name.decode(): value.decode() for name, value in fields}
    headers: Json = {}
    if "retry-after" in sent:
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    if "www-authenticate" in sent:
        headers["WWW-Authenticate"] = {
            "description": "The challenge (RFC 7617).",
            "schema": {"type": "string"},
            "example": sent["www-authenticate"],
        }
    content = {"schema": _ref("OAuthError"), "example": messages.read_json(body)}
    return {"description": about, "content": {JSON: content}} | ({"headers": headers} if headers else {})


def _ref(name: str, kind: str = "schemas") -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


RESPONSES: Final[dict[str, Json]] = {
    "OAuthRefused": _refusal(
        OAuthError("invalid_scope"), "What was asked is not understood or not granted: `error` says which."
    ),
    "OAuthInvalidClient": _refusal(
        oauth_error.invalid_client(""),
        "Whoever asks is not known or did not prove who they are, for whatever cause.",
    ),
    "OAuthTooMany": _refusal(
        oauth_error.too_many(2), "Over a rate limit. Ask again after `Retry-After` seconds."
    ),
    "OAuthUnavailable": _refusal(OAuthError("temporarily_unavailable"), "Nothing was done. Try again."),
}
REFUSALS: Final[Json] = {
    "400": _ref("OAuthRefused", "responses"),
    "401": _ref("OAuthInvalidClient", "responses"),
    "413": _ref("ContentTooLarge", "responses"),
    "429": _ref("OAuthTooMany", "responses"),
    "503": _ref("OAuthUnavailable", "responses"),
}
_MARKED: Final[Json] = {"X-Request-Id": _ref("X-Request-Id", "headers")}


def paths(house: Studio) -> dict[str, dict[str, Json]]:
    """Return every OAuth endpoint with its operation. Raises AssertionError if an example does not return 200."""
    basic = base64.b64encode("{client_id}:{client_secret}".format(**house.names).encode()).decode()
    client = {"authorization": f"Basic {basic}"}
    key = {"x-api-key": house.alice_key}
    narrow = {"grant_type": CLIENT_CREDENTIALS, "scope": "read:agents"}
    found = {
        TOKEN_PATH: _post(
            house,
            TOKEN_PATH,
            "issue_token",
            "Trade a secret, an assertion or a key for an access token",
            "The client proves who it is by HTTP Basic, by `client_secret` in the body, or by `client_assertion`; "
            "`jwt-bearer` and `token-exchange` need no client. Nothing is issued before it stands in the audit log.",
            ("TokenRequest", narrow, client, CLIENT),
            "TokenAnswer",
        ),
        INTROSPECTION: _post(
            house,
            INTROSPECTION,
            "introspect",
            "Ask what a token is worth now (RFC 7662)",
            "In a form the caller authenticates, as a client or with a key or token of its own, and is told the whole of "
            "it: about every token of the organization if it holds `verify:credentials`, else about its own. In JSON "
            "nobody authenticates: whoever has a token may ask about it, and is told less.",
            ("IntrospectionRequest", BODIES[INTROSPECTION], key, ANYBODY),
            "IntrospectionAnswer",
        ),
    }
    found[DEVICE_AUTHORIZATION] = _post(
        house,
        DEVICE_AUTHORIZATION,
        "authorize_device",
        "Ask for access from a device without a browser (RFC 8628)",
        "The device shows the address and `user_code` to its person, who decides in a browser. Meanwhile it asks the token "
        "endpoint with `device_code`, once each `interval` seconds, five seconds more after each `slow_down`: "
        "`authorization_pending`, then the tokens, `access_denied` or `expired_token`.",
        ("DeviceRequest", BODIES[DEVICE_AUTHORIZATION], {}, []),
        "DeviceAnswer",
    )
    for path, name in zip(REVOCATION, ("revoke_token", "revoke_token_as_well"), strict=True):
        found[path] = _post(
            house,
            path,
            name,
            "End an access token or a session (RFC 7009)",
            "In a form the client authenticates that it was issued to. In JSON nobody does: whoever has a token may end "
            "it. What is no token, or somebody else's, is answered alike, and nothing ends; only a key or secret is "
            f"`unsupported_token_type`. `{'` and `'.join(REVOCATION)}` are the same.",
            ("RevocationRequest", BODIES[path], client, ANYBODY),
            None,
        )
    found[ALIAS_PATH] = _post(
        house,
        ALIAS_PATH,
        "issue_machine_token",
        "Trade a client's proof for a token of the second issuer",
        f"For clients of the configuration TOML: `iss` is the issuer with `{ALIAS}` behind it, the token is signed with "
        "RS256 and has `m2mProfile`. It is accepted like any other.",
        ("MachineTokenRequest", narrow, client, CLIENT),
        "TokenAnswer",
    )
    about = "It takes no credential. It may be kept for five minutes, and has an `ETag`."
    for path, name, summary in (
        ("/.well-known/jwks.json", "list_published_keys", "List the keys that verify tokens (RFC 7517)"),
        (f"{ALIAS}/v1/keys", "list_published_machine_keys", "List the keys of the second issuer (RFC 7517)"),
    ):
        found[path] = _get(house, path, name, summary, about, "PublishedKeys")
    about += f" Of the second issuer it stands at the same address with `{ALIAS}` behind it, or before it."
    for path, name in zip(DOCUMENTS, ("server_metadata", "openid_configuration"), strict=True):
        summary = "Read what clients set themselves up by (RFC 8414)"
        found[path] = _get(house, path, name, summary, about, "ServerMetadata")
    found[REGISTRATION] = _registration(house)
    return {path: {"get" if "requestBody" not in each else "post": each} for path, each in found.items()}


def _post(
    house: Studio,
    path: str,
    name: str,
    summary: str,
    description: str,
    taken: tuple[str, Json, dict[str, str], list[Json]],
    told: str | None,
) -> Json:
    """`taken`: the schema, the fields of the example form, its headers, and the security requirements."""
    schema, form, headers, security = taken
    sent, _ = house.send(name, "POST", path, form, headers, FORM)
    example, answer = house.send(name, "POST", path, BODIES[path], {}, JSON)
    success: Json = {"description": "Success." if told else "It is ended, or was no token that can be."}
    if path != INTROSPECTION:
        success["headers"] = _MARKED
    if told:
        success["content"] = {JSON: {"schema": _ref(told), "example": answer}}
    return {
        "tags": ["OAuth"],
        "summary": summary,
        "operationId": name,
        "description": description,
        "requestBody": {
            "required": True,
            "content": {
                FORM: {"schema": _ref(schema), "example": sent},
                JSON: {"schema": _ref(schema), "example": example},
            },
        },
        "security": security,
        "responses": {"200": success, **REFUSALS},
    }


def _registration(house: Studio) -> Json:
    body = {"client_name": "Delivery tracker", "redirect_uris": ["https://tracker.acme.example/callback"]}
    sent, answer = house.send("register_client", "POST", REGISTRATION, body, {}, JSON)
    refusals = {status: REFUSALS[status] for status in ("400", "413", "429", "503")}
    content = {JSON: {"schema": _ref("ClientRegistration"), "example": answer}}
    return {
        "tags": ["OAuth"],
        "summary": "Register a client without an account (RFC 7591)",
        "operationId": "register_client",
        "description": "Anybody may, unless the operator turned it off. It gets no secret and no access: people consent. "
        "A registration that nobody consents to is forgotten after a day.",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": _ref("ClientMetadata"), "example": sent}},
        },
        "security": [],
        "responses": {
            "201": {"description": "It is registered, as told.", "headers": _MARKED, "content": content},
            **refusals,
        },
    }


def _get(house: Studio, path: str, name: str, summary: str, description: str, told: str) -> Json:
    _, answer = house.send(name, "GET", path, None, {}, JSON)
    headers = {**_MARKED, "ETag": _ref("ETag", "headers")}
    content = {JSON: {"schema": _ref(told), "example": answer}}
    return {
        "tags": ["OAuth"],
        "summary": summary,
        "operationId": name,
        "description": description,
        "security": [],
        "responses": {
            "200": {"description": "Success.", "headers": headers, "content": content},
            "503": _ref("Unavailable", "responses"),
        },
    }
