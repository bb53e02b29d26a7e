"""Clients whose id is the URL of their metadata document, and the keys that clients publish at a URL.

(draft-ietf-oauth-client-id-metadata-document.) The URL comes from an untrusted party. So every fetch goes
through the guarded outbound client, and is limited by the requesting address and by the host that is fetched
from. A fetched document is cached for minutes; a failure is not cached. Nothing is written to the database
here: the client gets its row with its first consent.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore, Lock
from typing import Any, Final, Generic, TypeVar

import structlog

from ostiary.auth.rates import Rates
from ostiary.core.address import Address, failure_group
from ostiary.core.client_keys import ClientKey, read_keys
from ostiary.core.client_metadata import MetadataError, is_document_url, read_document
from ostiary.core.instant import HOUR, MINUTE, SECOND, Instant
from ostiary.core.model import OAuthClient
from ostiary.core.permission import Catalogue
from ostiary.core.problem import Problem
from ostiary.core.url import read_url
from ostiary.http import messages, outbound
from ostiary.http.outbound import Fetched, OutboundError
from ostiary.services import clients
from ostiary.storage import clients as rows
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Store

MAX_DOCUMENT: Final = 5 * 1024
MAX_KEYS: Final = 32 * 1024
MOST_KEPT: Final = 1_000
FRESH: Final = 5 * MINUTE
"""How long a document is cached that does not state a lifetime, and how long keys are always cached."""
LONGEST: Final = HOUR
KEYS_AGAIN: Final = MINUTE
"""The shortest time between two fetches of the same keys, when a key id is missing from the cached ones."""
FETCHES_FOR: Final = 10
"""Fetched documents per minute, for each requesting address."""
FETCHES_FROM: Final = 60
"""Fetched documents or key sets per minute, for each host."""

DOCUMENTS_AT_ONCE: Final = 8
KEYS_AT_ONCE: Final = 2
"""Concurrent key fetches. The limit keeps threads free for other requests when hosts respond slowly or not at
all.
"""

T = TypeVar("T")
Fetch = Callable[..., Fetched]


class DocumentError(Exception):
    """Explains why there is no client or no key. The message is for people, and contains nothing that was
    fetched.
    """

    def __init__(self, told: str, retry_after: int | None = None, reason: str = "") -> None:
        super().__init__(told)
        self.reason = reason or told
        """The exact cause, for the log."""
        self.retry_after = retry_after
        """Seconds to wait, if a limit was exceeded."""


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T
    fetched_at: Instant
    until: Instant


@dataclass(slots=True)
class _Memory(Generic[T]):
    """A cache by URL. It keeps a limited number of entries, the newest."""

    kept: dict[str, _Kept[T]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def get(self, url: str, now: Instant) -> _Kept[T] | None:
        found = self.kept.get(url)
        return found if found is not None and now < found.until else None

    def put(self, url: str, value: T, now: Instant, length: int) -> None:
        with self.lock:
            self.kept.pop(url, None)
            while len(self.kept) >= MOST_KEPT:
                del self.kept[next(iter(self.kept))]
            if length > 0:
                self.kept[url] = _Kept(value, now, now + length)


class ClientDocuments:
    """Fetches and caches clients' documents and keys, for one process. Fetching blocks, so call it in a
    thread.
    """

    def __init__(
        self, store: Store, limits: Rates, allowed: frozenset[str], fetch: Fetch = outbound.fetch
    ) -> None:
        self._store = store
        self._limits = limits
        self._allowed = allowed
        self._fetch = fetch
        self._clients: _Memory[OAuthClient] = _Memory()
        self._keys: _Memory[tuple[ClientKey, ...]] = _Memory()
        self._turns = {
            MAX_DOCUMENT: BoundedSemaphore(DOCUMENTS_AT_ONCE),
            MAX_KEYS: BoundedSemaphore(KEYS_AT_ONCE),
        }

    def resolve(self, client_id: str, address: Address | None) -> OAuthClient:
        """Return the client with this id, from its current document. Raises DocumentError.

        `address` is the IP address of the person that the client sent here. Fetches are limited by it.
        """
        if not is_document_url(client_id):
            raise DocumentError("The client id is not the URL of a metadata document.")
        now = self._store.clock()
        kept = self._clients.get(client_id, now)
        if kept is None:
            self._charge(f"documents for {failure_group(address)}", FETCHES_FOR)
            client, length = self._read(client_id, now)
            self._clients.put(client_id, client, now, length)
        else:
            client = kept.value
        before = rows.find(self._store, client_id)
        return (
            client
            if before is None
            else replace(client, created_at=before.created_at, disabled_at=before.disabled_at)
        )

    def jwks_of(
        self, client: OAuthClient, key_id: str | None = None, address: Address | None = None
    ) -> tuple[ClientKey, ...]:
        """Return the public keys of a client that signs. Raises DocumentError.

        Keys at a URL are fetched again if they do not include `key_id`, at most once a minute. `address` is
        the IP address that presented the signature. Fetches are limited by it.
        """
        if client.jwks is not None:
            return read_keys(client.jwks)
        if client.jwks_uri is None:
            raise DocumentError("The client has no keys.")
        now = self._store.clock()
        kept = self._keys.get(client.jwks_uri, now)
        if kept is not None:
            known = key_id is None or any(each.id == key_id for each in kept.value)
            if known or now < kept.fetched_at + KEYS_AGAIN:
                return kept.value
        self._charge(f"keys for {failure_group(address)}", FETCHES_FOR)
        fetched = self._get(client.jwks_uri, MAX_KEYS)
        try:
            keys = read_keys(_json(fetched))
        except ValueError as error:
            raise DocumentError(f"The key set of the client {error}.") from None
        self._keys.put(client.jwks_uri, keys, now, FRESH)
        return keys

    def check(self, url: str) -> None:
        """Raise DocumentError if the service may not fetch from this URL, such as one with an internal address."""
        try:
            outbound.check(url, allowed=self._allowed)
        except OutboundError as error:
            raise _not_fetched(url, error) from None

    def _read(self, url: str, now: Instant) -> tuple[OAuthClient, int]:
        """Return the client that a document describes, and how long the document may be cached, in
        microseconds.
        """
        fetched = self._get(url, MAX_DOCUMENT)
        members = _json(fetched)
        try:
            metadata = read_document(url, members)
        except MetadataError as error:
            raise DocumentError(f"The document of the client is not taken: {error.description}.") from None
        catalogue = Catalogue(self._store.read(role_rows.scopes_of_catalogue))
        client = clients.from_metadata(metadata, members.get("jwks"), url, "document", now, catalogue)
        return client, _freshness(fetched.cache_control)

    def _get(self, url: str, most: int) -> Fetched:
        self._charge(f"documents from {read_url(url).host}", FETCHES_FROM)
        if not self._turns[most].acquire(blocking=False):
            raise DocumentError("Too many client documents are being fetched. Try again.", 1)
        try:
            fetched = self._fetch(url, max_bytes=most, accept="application/json", allowed=self._allowed)
        except OutboundError as error:
            raise _not_fetched(url, error) from None
        finally:
            self._turns[most].release()
        if fetched.content_type != "application/json" and not fetched.content_type.endswith("+json"):
            raise DocumentError("The client's document is not of the type application/json.")
        return fetched

    def _charge(self, name: str, limit: int) -> None:
        permit = self._limits.attempt(name, limit)
        if not permit.allowed:
            raise DocumentError(
                "Too many client documents were requested. Try again in a minute.", permit.wait
            )


def _not_fetched(url: str, error: OutboundError) -> DocumentError:
    """Log the cause, and return one neutral error, which reveals nothing about internal names and addresses."""
    structlog.get_logger().warning("client document not fetched", url=read_url(url).place, reason=str(error))
    return DocumentError(
        "The metadata or keys of the client could not be fetched from its URL.", reason=str(error)
    )


def _json(fetched: Fetched) -> Any:
    try:
        members = messages.read_json(fetched.body)
        messages.refuse_secrets(members)
    except Problem:
        raise DocumentError("The client's document is not valid JSON, or is ambiguous.") from None
    return members


_MAX_AGE: Final = re.compile(r"max-age=\"?([0-9]{1,10})\"?")


def _freshness(cache_control: str) -> int:
    """Return how long a document may be cached (RFC 9111 §5.2.2), in microseconds; 0 if it must not be."""
    directives = {each.strip() for each in cache_control.lower().split(",")}
    if directives & {"no-store", "no-cache"}:
        return 0
    ages = [int(found[1]) * SECOND for each in directives if (found := _MAX_AGE.fullmatch(each))]
    return min([*ages, LONGEST]) if ages else FRESH
