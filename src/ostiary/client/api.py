"""The HTTP client for the management API, and the errors that its calls raise."""

import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from ostiary.core.address import parse_address

TIMEOUT_SECONDS = 15.0
MAX_PAGE = 200


class NotReachableError(Exception):
    """The service does not respond at this URL."""


class ResponseLostError(NotReachableError):
    """A request other than GET was sent, but no response arrived. The service may have carried it out."""


class UntrustedError(NotReachableError):
    """The certificate at this URL is not trusted, or the trusted certificates cannot be read."""


class UrlError(Exception):
    """The URL cannot be that of a service."""


class InsecureUrlError(UrlError):
    """The request would go unencrypted to another machine."""


class NotOstiaryError(Exception):
    """The response does not come from an Ostiary service, or from an incompatible version."""


class MissingFieldError(NotOstiaryError):
    """The response lacks a field that is needed: the versions of the service and of this program do not fit."""


@dataclass(slots=True, eq=False)
class RefusedError(Exception):
    """An error response: problem details (RFC 9457), or an OAuth error (RFC 6749 §5.2) at the OAuth endpoints."""

    status: int
    title: str
    detail: str
    code: str
    body: dict[str, Any] = field(default_factory=dict)
    sent: Any = field(default=None, repr=False)
    """The body of the request. It may contain secrets."""

    def __str__(self) -> str:
        return f"{self.title}: {self.detail}"

    @property
    def field_errors(self) -> list[tuple[str, str]]:
        """Pointer and message of each invalid field."""
        errors = self.body.get("errors")
        return [
            (str(each.get("pointer", "")), str(each.get("detail", "is wrong")))
            for each in (errors if isinstance(errors, list) else [])
            if isinstance(each, dict)
        ]

    def sent_at(self, pointer: str) -> Any:
        """Return the value in the request body at this pointer (RFC 6901), or None."""
        value = self.sent
        for part in pointer.split("/")[1:]:
            if isinstance(value, dict):
                value = value.get(part.replace("~1", "/").replace("~0", "~"))
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return value


@dataclass(frozen=True, slots=True)
class Client:
    """A service with one credential. `credential` is an API key or an access token, and is never logged or printed.

    Requests over http go to this machine only, even without a credential, because bodies may contain secrets.

    `organization` is the id or slug of the organization to act in. None means the credential's own. `timeout` is in
    seconds, for each of connecting, sending and waiting.
    """

    url: str
    credential: str | None = field(default=None, repr=False)
    organization: str | None = None
    timeout: float = TIMEOUT_SECONDS

    def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Send a request. Return the JSON object of the response, or None if it is empty. Raises the errors above.

        A POST that is sent again with the same `idempotency_key` is carried out only once. The second response has no
        secret.
        """
        return self.exchange(method, path, json, params, idempotency_key=idempotency_key)[0]

    def exchange(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: dict[str, Any] | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[Any, str | None]:
        """Like `request`, but also return the response's entity tag, or None.

        With `if_match`, the service refuses a change (412) if the object no longer has this tag.
        """
        fields = {"if-match": if_match, "idempotency-key": idempotency_key}
        headers = {name: value for name, value in fields.items() if value is not None}
        # A query in the path takes precedence over these defaults.
        defaults = {"organization": self.organization} if takes_organization(method, path) else {}
        return self._send(method, path, headers, params or {}, defaults, json=json)

    def form(self, path: str, fields: list[tuple[str, str]], basic: tuple[str, str] | None = None) -> Any:
        """Send a form to an OAuth endpoint (RFC 6749). Return the JSON object of the response, or None if it is empty.

        `basic` is a client's id and secret. The credential and the organization are not sent. Raises the errors above.
        """
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if basic is not None:
            # RFC 6749 §2.3.1: id and secret are form-encoded before they are joined.
            pair = ":".join(quote_plus(each) for each in basic)
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        return self._send("POST", path, headers, {}, {}, content=urlencode(fields).encode())[0]

    def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        params: dict[str, Any],
        defaults: dict[str, str | None],
        json: Any = None,
        content: bytes | None = None,
    ) -> tuple[Any, str | None]:
        """Send one request. `params` go into the query; so do those `defaults` that the path does not contain."""
        import httpx2

        secure = check_url(self.url)
        if not is_safe(self.url):
            raise InsecureUrlError(
                f"{self.url} is neither https nor on this machine, so a credential would be sent unencrypted."
            )
        headers = {"accept": "application/json", "user-agent": "ostiary-cli"} | headers
        if self.credential is not None and content is None:
            # The service tells keys and tokens apart by their prefix, so one header carries both.
            headers["authorization"] = f"Bearer {self.credential}"
        try:
            target = httpx2.URL(self.url.rstrip("/") + path)
            defaults = {
                name: value for name, value in defaults.items() if value and name not in target.params
            }
            if params or defaults:
                target = target.copy_merge_params({**params, **defaults})
            answer = httpx2.request(
                method,
                target,
                json=json,
                content=content,
                headers=headers,
                timeout=self.timeout,
                follow_redirects=False,
                # Over http, a proxy from the environment (HTTP_PROXY) could read the credential.
                trust_env=secure,
                # Without TLS: to read the certificates that it would trust takes longer than the request.
                verify=secure,
            )
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            lost = (
                httpx2.ReadError,
                httpx2.ReadTimeout,
                httpx2.WriteError,
                httpx2.WriteTimeout,
                httpx2.RemoteProtocolError,
            )
            kind = ResponseLostError if method != "GET" and isinstance(error, lost) else NotReachableError
            cause = _cause(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise UntrustedError(f"{self.url} is not trusted: {_mistrust(cause)}") from None
            raise kind(f"{self.url} does not answer: {_why(error, cause)}.") from None
        except httpx2.RequestError:
            raise NotOstiaryError(f"{self.url} answers, but not as an Ostiary service does.") from None
        except OSError as error:  # before anything is sent
            raise UntrustedError(
                f"The certificates to trust cannot be read ({error.strerror}): SSL_CERT_FILE or SSL_CERT_DIR is wrong."
            ) from None
        tag = answer.headers.get("etag")
        if answer.is_success and not answer.content:
            return None, tag
        try:
            body = answer.json()
        except ValueError:
            body = None
        if answer.is_success:
            if not isinstance(body, dict):
                raise NotOstiaryError(f"{self.url} answers, but not as an Ostiary service does.")
            return body, tag
        if not isinstance(body, dict):
            body = {}
        detail = f"{self.url} does not answer as an Ostiary service does."
        if answer.has_redirect_location:
            detail = f"{self.url} redirects to {answer.headers['location'][:200]}, which is not followed."
        title = f"HTTP {answer.status_code}"
        code = body.get("error")
        if isinstance(code, str):  # RFC 6749 §5.2
            title, detail = code.replace("_", " ").capitalize(), body.get("error_description", "")
        raise RefusedError(
            answer.status_code,
            str(body.get("title", title)),
            str(body.get("detail", detail)),
            str(body.get("code", code or "")),
            body,
            json,
        )

    def change(self, path: str, method: str, edit: Callable[[Any], Any]) -> Any:
        """Read an object, and write what `edit` makes of it. Return the response.

        If the object changed in between (412), this tries again, three times in all. Raises the errors above.
        """
        tries = 3
        while True:
            found, tag = self.exchange("GET", path)
            try:
                return self.exchange(method, path, edit(found), if_match=tag)[0]
            except RefusedError as error:
                tries -= 1
                if error.status != 412 or not tries:
                    raise

    def pages(self, path: str, params: dict[str, Any] | None = None) -> Iterator[Any]:
        """Yield all rows of a list, page by page. Pages have the largest size, unless `params` has a `limit`."""
        query = {"limit": MAX_PAGE} | (params or {})
        while True:
            page = self.request("GET", path, params=query)
            yield from page["data"]
            if page.get("next_cursor") is None:
                return
            query["cursor"] = page["next_cursor"]


HOMELESS: Final = frozenset({("GET", "/v1/scopes"), ("POST", "/v1/sessions")})
"""Endpoints without an organization: they belong to the installation, or the body identifies the caller."""


def takes_organization(method: str, path: str) -> bool:
    """Return whether the endpoint has the parameter `organization`. Endpoints about the credential itself do not."""
    path = path.partition("?")[0].partition("#")[0]
    if not path.startswith("/v1/") or (method, path) in HOMELESS:
        return False
    return path.split("/")[2] not in {"capabilities", "verify", "agents", "authorize", "authorize-nginx"}


def _cause(error: BaseException) -> OSError | None:
    """Return the error of the operating system or of OpenSSL that caused an error of the HTTP library."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def _mistrust(error: ssl.SSLCertVerificationError) -> str:
    """Return what is wrong with a certificate, and what to do. It repeats nothing from the certificate."""
    reason = error.verify_message.rstrip(".")
    if error.verify_code in _UNKNOWN_AUTHORITY:
        reason += ".\nIf your own authority issued it, name the file with its certificate in SSL_CERT_FILE"
    return f"{reason}."


_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's codes for a certificate of an unknown authority. Others mean expired, or issued for another name."""


def _why(error: Exception, cause: OSError | None) -> str:
    """Return why no response arrived. It repeats nothing that the other side sent."""
    import httpx2

    if isinstance(cause, socket.gaierror):
        return f"its name cannot be resolved ({cause.strerror})"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused, nothing listens on that port"
    if isinstance(cause, ssl.SSLError):
        plain = "; is it http://?" if cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE") else ""
        return f"no TLS connection ({(cause.reason or 'error').replace('_', ' ').lower()}){plain}"
    if (
        isinstance(error, httpx2.RemoteProtocolError)
        and error.__cause__ is not None
        and "disconnected" not in str(error)
    ):
        return "what listens there does not speak HTTP"
    if isinstance(error, httpx2.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx2.ProxyError):
        return "the proxy of the environment refused"
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return "it closed the connection without a response"
    return (cause.strerror if cause is not None else None) or type(error).__name__


def check_url(url: str) -> bool:
    """Return whether the URL is https. Raises UrlError, without the value, if it cannot be a service's URL."""
    import httpx2

    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise UrlError("is not a URL such as https://keys.example.com") from None
    if parts.scheme not in {"http", "https"} or not parts.host or not 0 < (parts.port or 443) < 65536:
        raise UrlError("is not a URL such as https://keys.example.com")
    if parts.userinfo or parts.query or parts.fragment:
        raise UrlError("must be a URL without user, query and fragment, such as https://keys.example.com")
    return parts.scheme == "https"


def is_safe(url: str) -> bool:
    """Return whether a credential may be sent there: over https, or to this machine.

    This uses the parser of the library that sends the request, so that both see the same host.
    """
    import httpx2

    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    if parts.scheme == "https":
        return True
    if parts.scheme != "http":
        return False
    host = parts.host
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return parse_address(host).is_loopback
    except ValueError:
        return False


def same_address(left: str, right: str) -> bool:
    """Return whether two URLs are equal. All names of this machine count as one. False in case of doubt."""
    import httpx2

    try:
        found = [httpx2.URL(left), httpx2.URL(right)]
    except httpx2.InvalidURL:
        return False
    places = {
        (
            each.scheme,
            "localhost" if each.host in ("localhost", "127.0.0.1", "::1") else each.host,
            each.port or (443 if each.scheme == "https" else 80),
            each.raw_path,
        )
        for each in found
    }
    return len(places) == 1 and all(each.host and not each.userinfo for each in found)
