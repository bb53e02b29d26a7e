"""The only wiring: opens the database, and puts store, cache, hot path and routes together."""

import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ostiary.config import ConfigurationError, Settings, Wrong
from ostiary.core.installation import Installation
from ostiary.core.instant import Instant
from ostiary.core.keyring import Keyring, derive
from ostiary.core.problem import Problem, internal, invalid_fields
from ostiary.core.secret import prefix_of
from ostiary.data_directory import (
    CHANGES_FILE,
    DATABASE_FILE,
    init_line,
    master_keys,
    prepare_data,
)
from ostiary.http import openapi
from ostiary.http.api import (
    access_rules,
    agents,
    audit_events,
    credentials,
    imports,
    members,
    organizations,
    projects,
    roles,
    service_accounts,
)
from ostiary.http.api.route import Wiring, answer, field_error, problem_response
from ostiary.http.door import Door
from ostiary.http.duties import Duties
from ostiary.http.hotpath import HotPath
from ostiary.http.manual import answers as manual
from ostiary.services import installation as installation_service
from ostiary.services.directory import SYSTEM_CALLER
from ostiary.services.installation import Beginning
from ostiary.services.passwords import hash_password
from ostiary.storage import directory, engines, migrations
from ostiary.storage import imports as imports_rows
from ostiary.storage.engines import Engines
from ostiary.storage.store import Clock, Entropy, Store
from ostiary.storage.volatile import ChangeNumber, Counts, Facts

ROOMS = (
    organizations,
    projects,
    members,
    roles,
    service_accounts,
    imports,
    credentials,
    access_rules,
    agents,
    audit_events,
)
ROUTERS = tuple(room.router for room in ROOMS)
HANDLER_THREADS = 4
"""Threads share the interpreter with the hot path: more of them would only slow it down."""
MAX_CLOCK_DIFFERENCE = 1.0


class NotReachableError(Exception):
    """The database does not answer: exit 3."""


def wall_clock() -> Instant:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Opened:
    """An initialised database, ready for `Store`."""

    settings: Settings
    store: Store
    number: ChangeNumber

    def close(self) -> None:
        self.store.engines.dispose()
        self.number.close()


def connect(settings: Settings) -> Engines:
    """The engines of the configured database; files of the embedded one are made for their owner only."""
    if settings.database_url is not None:
        return engines.connect(settings.database_url.get_secret_value())
    os.umask(0o077)
    return engines.connect(engines.sqlite_url(settings.data / DATABASE_FILE))


def open_installation(
    settings: Settings, clock: Clock = wall_clock, entropy: Entropy = secrets.token_bytes
) -> Opened:
    """Open an initialised installation. ConfigurationError or NotReachableError say why it cannot start."""
    prepare_data(settings, create=settings.database_url is not None)
    path = settings.data / DATABASE_FILE
    if settings.database_url is None and not path.exists():
        raise ConfigurationError(
            Wrong("OSTIARY_DATA", str(settings.data), f"is not initialised; run `{init_line(settings.data)}`")
        )
    keyring = derive(master_keys(settings, create=False))
    database = connect(settings)
    try:
        facts = _check_schema(settings, database, keyring)
        prefix = prefix_of(settings.key_prefix)
        known = [name.removeprefix("key_prefix:") for name in facts if name.startswith("key_prefix:")]
        if prefix not in known:
            _check_prefix(settings, prefix, Store(database, Installation(keyring), clock, entropy))
    except (DBAPIError, Problem):
        database.dispose()
        raise NotReachableError(
            "The database does not answer. Check OSTIARY_DATABASE_URL and that it runs."
            if settings.database_url
            else f"{path} cannot be read as a database."
        ) from None
    except BaseException:
        database.dispose()
        raise
    installed = Installation(
        keyring,
        (prefix, *sorted(set(known) - {prefix})),
        facts.get("channel_host", "localhost"),
        settings.policy(),
    )
    number = ChangeNumber(settings.data / CHANGES_FILE)
    store = Store(database, installed, clock, entropy, number.increase)
    return Opened(settings, store, number)


def remember(opened: Opened) -> Opened:
    """Write down the key prefix and the peppers in use before anything is made with them."""
    opened.store.write_on((), installation_service.remember_forms, SYSTEM_CALLER)
    return opened


def initialise(settings: Settings, name: str, email: str, password: str) -> Beginning:
    """Make everything that an installation begins with. Raises ConfigurationError, NotReachableError, Problem."""
    prepare_data(settings, create=True)
    keyring = derive(master_keys(settings, create=True))
    database = connect(settings)
    number = ChangeNumber(settings.data / CHANGES_FILE)
    try:
        # A schema that is there is left as it is: bringing it up to date is `migrate`'s to do.
        if migrations.version(database) is None:
            migrations.upgrade(database)
        host = urlsplit(settings.public_url).hostname or "localhost"
        installed = Installation(keyring, (prefix_of(settings.key_prefix),), host, settings.policy())
        store = Store(database, installed, wall_clock, secrets.token_bytes, number.increase)
        return store.write_on(
            (), installation_service.begin, SYSTEM_CALLER, name, email, hash_password(password)
        )
    except DBAPIError as error:
        raise NotReachableError(f"The database does not answer ({type(error.orig).__name__}).") from None
    finally:
        database.dispose()
        number.close()


def recover(settings: Settings, password: str) -> Beginning:
    """A new password and operator key for whoever owns the data directory."""
    opened = remember(open_installation(settings))
    try:
        return opened.store.write_on((), installation_service.recover, SYSTEM_CALLER, hash_password(password))
    finally:
        opened.close()


def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the schema up to date; the version before and after."""
    prepare_data(settings, create=False)
    database = connect(settings)
    try:
        before = migrations.version(database)
        migrations.upgrade(database)
        return before, migrations.head()
    except DBAPIError as error:
        raise NotReachableError(f"The database does not answer ({type(error.orig).__name__}).") from None
    finally:
        database.dispose()


def _check_prefix(settings: Settings, prefix: str, store: Store) -> None:
    """Raise if keys of ours could not be told from imported ones by how they begin."""
    if any(each.startswith(prefix) or prefix.startswith(each) for each in store.read(imports_rows.prefixes)):
        raise ConfigurationError(
            Wrong("OSTIARY_KEY_PREFIX", settings.key_prefix, "is how imported keys begin; choose another")
        )


def _check_schema(settings: Settings, database: Engines, keyring: Keyring) -> dict[str, str]:
    where = "OSTIARY_DATABASE_URL" if settings.database_url else "OSTIARY_DATA"
    found, needed = migrations.version(database), migrations.head()
    if found is None:
        raise ConfigurationError(
            Wrong(where, "database", f"is not initialised; run `{init_line(settings.data)}`")
        )
    if found != needed:
        raise ConfigurationError(
            Wrong(
                where,
                "database",
                f"has schema {found}, and this version needs {needed}; run `ostiary migrate`",
            )
        )
    store = Store(database, Installation(keyring), wall_clock, secrets.token_bytes)
    facts = store.read(directory.installation_facts)
    peppers = {name.removeprefix("pepper:") for name in facts if name.startswith("pepper:")}
    if not facts:
        raise ConfigurationError(
            Wrong(where, "database", f"is not initialised; run `{init_line(settings.data)}`")
        )
    if not peppers & keyring.peppers.keys():
        raise ConfigurationError(
            Wrong("OSTIARY_MASTER_KEY", "database", "is not the key that this database was made with")
        )
    return facts


def build(opened: Opened, monotonic: Any = time.monotonic) -> tuple[Door, Duties, Facts]:
    """The application of an opened installation, its duties (not yet started) and its cache."""
    settings, store = opened.settings, opened.store
    facts = Facts(store, opened.number, monotonic, settings.max_staleness.total_seconds())
    counts = Counts()
    hot = HotPath(facts, counts, store.clock, store.installation, settings.trusted_proxies)
    duties = Duties(store, facts, counts)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = HANDLER_THREADS
        duties.start()
        yield
        await anyio.to_thread.run_sync(duties.stop)

    app = FastAPI(
        title="Ostiary",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.wiring = Wiring(store, hot)
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(Exception, _unhandled)
    app.add_route("/openapi.json", openapi.document, methods=["GET"])
    app.add_route("/healthz", _healthz, methods=["GET"])
    app.add_route("/readyz", _readiness(opened, facts), methods=["GET"])
    app.router.routes.extend(manual.ROUTES)
    door = Door(
        app,
        hot,
        settings.trusted_proxies,
        store.clock,
        store.entropy,
        https=settings.public_url.startswith("https:"),
    )
    return door, duties, facts


async def _healthz(_request: Request) -> Response:
    """The process lives and answers. Whether it can do its work is `/readyz`'s to say."""
    return answer({"status": "ok"})


def _readiness(opened: Opened, facts: Facts) -> Any:
    def check() -> list[str]:
        reasons = []
        try:
            facts.sync()
            if opened.store.read(directory.find_operator) is None:
                reasons.append("not initialised")
            ahead = engines.clock_difference(opened.store.engines, opened.store.clock())
            if abs(ahead) > MAX_CLOCK_DIFFERENCE:
                reasons.append(f"the clock is {ahead:+.1f} s from the database's")
        except (Problem, DBAPIError):
            reasons.append("the database does not answer")
        return reasons

    async def readyz(_request: Request) -> Response:
        reasons = await anyio.to_thread.run_sync(check)
        if reasons:
            structlog.get_logger().warning("not ready", reason="; ".join(reasons))
            return answer({"status": "not ready", "reasons": reasons}, 503)
        return answer({"status": "ready"})

    return readyz


async def _http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (unknown path, wrong method) in our form."""
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "invalid-request")
    detail = {
        404: "There is nothing at this address.",
        405: "This address does not take that method.",
    }.get(error.status_code, "The request is not understood.")
    response = problem_response(request, Problem(code, detail))
    response.headers.update(error.headers or {})
    allowed = _methods_at(request.url.path)
    if error.status_code == 405 and allowed:
        # Starlette names the methods of the first route that fits the path, and each of ours has one.
        response.headers["allow"] = ", ".join(sorted(allowed))
    return response


async def _bad_parameters(request: Request, error: Exception) -> Response:
    """FastAPI's own refusal of a query, in our form and without the value that was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = tuple(field_error(each | {"loc": each["loc"][1:]}) for each in error.errors())
    return problem_response(request, invalid_fields(wrong))


async def _unhandled(request: Request, _error: Exception) -> Response:
    """The answer to a fault of ours; the door logs where it was."""
    return problem_response(request, internal())


def _methods_at(path: str) -> set[str]:
    """Every method that some route of the API takes at this path."""
    return {
        method
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.path_regex.match(path)
        for method in route.methods or ()
    }
