"""Calls to the management API, and what can go wrong with them."""

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
    """The service does not answer at this URL."""


class AnswerLostError(NotReachableError):
    """A request that changes something was sent, and no answer came: it may have been carried out."""


class UntrustedError(NotReachableError):
    """The certificate at this URL is not trusted, or no certificates are known that could be."""


class UrlError(Exception):
    """The URL is none that a service could have."""


class InsecureUrlError(UrlError):
    """A credential would be sent in clear to another machine."""


class NotOstiaryError(Exception):
    """Something answers at this URL, but not as this service does."""


@dataclass(slots=True, eq=False)
class RefusedError(Exception):
    """An answer other than success, as the service worded it (RFC 9457, or RFC 6749 at the OAuth endpoints)."""

    status: int
    title: str
    detail: str
    code: str
    body: dict[str, Any] = field(default_factory=dict)
    sent: Any = field(default=None, repr=False)
    """The body of the request, which may hold secrets."""

    def __str__(self) -> str:
        return f"{self.title}: {self.detail}"

    @property
    def field_errors(self) -> list[tuple[str, str]]:
        """Pointer and sentence of each field that is wrong."""
        errors = self.body.get("errors")
        return [
            (str(each.get("pointer", "")), str(each.get("detail", "is wrong")))
            for each in (errors if isinstance(errors, list) else [])
            if isinstance(each, dict)
        ]

    def sent_at(self, pointer: str) -> Any:
        """What the request had at this pointer (RFC 6901), None if nothing."""
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
    """One service, one credential. `credential` is an API key or an access token, never logged or printed.

    Without one bodies may still hold secrets, so nothing goes over http but to this machine.

    `organization` is the one to act in, by id; without it that of the credential. `timeout` is in seconds, and for
    each of connecting, sending and waiting.
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
        """Send a request; the parsed JSON object, None if the answer is empty. Raises the errors above.

        A POST that is sent again with the same `idempotency_key` is carried out once; the second answer holds no secret.
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
        """The same, with the answer's entity tag if it has one. `if_match` is the tag of what may be changed."""
        fields = {"if-match": if_match, "idempotency-key": idempotency_key}
        headers = {name: value for name, value in fields.items() if value is not None}
        # What the path says itself comes first.
        members = {"organization": self.organization} if takes_organization(method, path) else {}
        return self._send(method, path, headers, params or {}, members, json=json)

    def form(self, path: str, fields: list[tuple[str, str]], basic: tuple[str, str] | None = None) -> Any:
        """Send a form, as the OAuth endpoints take it (RFC 6749); the parsed JSON object, None if it is empty.

        `basic` is a client's id and secret. Neither the credential nor the organization is sent along.
        """
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if basic is not None:
            # RFC 6749 §2.3.1: both are form-encoded first.
            pair = ":".join(quote_plus(each) for each in basic)
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        return self._send("POST", path, headers, {}, {}, content=urlencode(fields).encode())[0]

    def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        params: dict[str, Any],
        members: dict[str, str | None],
        json: Any = None,
        content: bytes | None = None,
    ) -> tuple[Any, str | None]:
        """One request; `params` go into the query, and of `members` what the path does not say itself."""
        import httpx2

        secure = check_url(self.url)
        if not is_safe(self.url):
            raise InsecureUrlError(
                f"{self.url} is neither https nor on this machine: a credential would travel in clear."
            )
        headers = {"accept": "application/json", "user-agent": "ostiary-cli"} | headers
        if self.credential is not None and content is None:
            # The prefix tells a key from a token, so one header takes both.
            headers["authorization"] = f"Bearer {self.credential}"
        try:
            target = httpx2.URL(self.url.rstrip("/") + path)
            members = {name: value for name, value in members.items() if value and name not in target.params}
            if params or members:
                target = target.copy_merge_params({**params, **members})
            answer = httpx2.request(
                method,
                target,
                json=json,
                content=content,
                headers=headers,
                timeout=self.timeout,
                follow_redirects=False,
                # Over http a proxy of the environment (HTTP_PROXY) would read the credential.
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
            kind = AnswerLostError if method != "GET" and isinstance(error, lost) else NotReachableError
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
        """Read what is there, and write what `edit` makes of it; again, if somebody changed it in between."""
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
        """Every row of a list, page after page, each as long as can be if `params` do not say otherwise."""
        asked = {"limit": MAX_PAGE} | (params or {})
        while True:
            page = self.request("GET", path, params=asked)
            yield from page["data"]
            if page["next_cursor"] is None:
                return
            asked["cursor"] = page["next_cursor"]


HOMELESS: Final = frozenset({("GET", "/v1/scopes"), ("POST", "/v1/sessions")})
"""What belongs to the installation, or to whoever proves it in the body."""


def takes_organization(method: str, path: str) -> bool:
    """Whether `?organization=` means something there: not where the question is about the credential itself."""
    path = path.partition("?")[0].partition("#")[0]
    if not path.startswith("/v1/") or (method, path) in HOMELESS:
        return False
    return path.split("/")[2] not in {"capabilities", "verify", "agents", "authorize", "authorize-nginx"}


def _cause(error: BaseException) -> OSError | None:
    """The operating system's error, or OpenSSL's, behind one of the library."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def _mistrust(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with a certificate, and what to do. It repeats nothing of the certificate."""
    told = error.verify_message.rstrip(".")
    if error.verify_code in _OUR_AUTHORITY:
        told += ".\nIf it is of an authority of your own, name the file with its certificate in SSL_CERT_FILE"
    return f"{told}."


_OUR_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's codes for a certificate that nobody vouches for; others are expired, or of another name."""


def _why(error: Exception, cause: OSError | None) -> str:
    """Why no answer came. It repeats nothing that the other side sent."""
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
        return "it closed the connection without an answer"
    return (cause.strerror if cause is not None else None) or type(error).__name__


def check_url(url: str) -> bool:
    """Whether the URL is https; UrlError if a service could have no such URL. What it says holds no password."""
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
    """Whether a credential may be sent there: https, or loopback. Read by the parser that will send it."""
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
    """Whether two URLs are one address, where all names of this machine are one. In doubt not."""
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
