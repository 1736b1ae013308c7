"""Run one embedded server and one service for each test process, cleaned before each test.

The schema is migrated once into a template. The service under test has its real runner and roles.
Each test creates the rows that it needs.
"""

import asyncio
import os
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeAlias, TypeVar

import psycopg
import pytest
from aiohttp import ClientSession, CookieJar, web
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from psycopg import sql as psql

from app.access import tokens
from app.access.events import Origin
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.local_credentials import ADMIN_TOKEN_FILE, token_key
from app.access.models import Grant, Scope
from app.access.people.edit import AccessEdit
from app.access.rate_limit import RATE_LIMIT
from app.audit.head_export import HeadExport
from app.components import Component
from app.configuration.changes.write_requests import CHECKS
from app.configuration.json_schema.pool import Checkers
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.reading import FOLLOWER
from app.database import Connection, Database
from app.database.client.drivers import libpq_arguments
from app.database.embedded import EmbeddedServer
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, MIGRATOR, OWNER
from app.database.roles.provision import Provisioner
from app.database.roles.rights import TABLES
from app.flags.handlers import USAGE
from app.http.keys import DATABASE, DURATIONS, LIFECYCLE, SETTINGS
from app.http.parameters import RESPONSE_HEADERS
from app.http.protocol import Runner
from app.server.application import create_app
from app.server.components import COMPONENTS
from app.server.routes import describe
from app.settings import Settings, Target, load
from tests.database.full_postgres import CHOSEN_PROGRAMS, full_server
from tests.database.full_postgres import open_folder as unprivileged_folder
from tests.examples import examples
from tests.waiting import HANG_SECONDS

pytest_plugins = ["tests.session"]

# The time of an example depends on the load of the machine, and so does that of its generation.
# The first text of a checkout also makes Hypothesis build its tables of Unicode.
hypothesis_settings.register_profile(
    "suite",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("suite")

Admin: TypeAlias = psycopg.Connection[tuple[object, ...]]
ComponentType = TypeVar("ComponentType", bound=Component)
Value = TypeVar("Value")

# Variables that a developer has set must not reach the tests.
_OURS = (
    *("DATABASE_", "PG", "TOKEN_", "HEARTBEAT_", "ACCESS_"),
    *("IDENTITY_", "ALLOW_", "CREDENTIALS_"),
)
for _name in list(os.environ):
    if _name.startswith(_OURS) or _name in {"TIER", "PORT"}:
        del os.environ[_name]

_FAST = (
    *("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB"),
    # In its data folder, which the guardian removes: a killed server leaves shared memory behind.
    "dynamic_shared_memory_type=mmap",
)

# A condition for tables that have other rows than those of tests. `clean` empties all others.
_ROWS_OF_TESTS = {
    "environments": "name not in ('local', 'development', 'staging', 'production')",
    # Not by name: generated requests create tokens of the same name.
    "tokens": "created_by <> 'system:start'",
    "health_check": "false",
    "migrations": "false",
    "schema_fingerprints": "false",
    # A part without a row is read with each poll.
    "access_editions": "false",
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running PostgreSQL with our roles and its own folder."""

    superuser: Target
    folder: Path
    provisioner: Provisioner

    def admin(self, database: str = "postgres") -> Admin:
        target = self.superuser.named(database)
        return psycopg.connect(
            **libpq_arguments(target, self.provisioner.settings), autocommit=True
        )

    def target(self, role: str, database: str = "flagstone") -> Target:
        password = self.provisioner.targets()[role].password
        return self.superuser.named(database).as_role(role, password)

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database of the owner role; replace one of the same name."""
        with self.admin() as connection:
            self.drop_database(name)
            connection.execute(
                psql.SQL("create database {} template {} owner {}").format(
                    psql.Identifier(name), psql.Identifier(template), psql.Identifier(OWNER)
                )
            )
        return name

    def drop_database(self, name: str) -> None:
        with self.admin() as connection:
            connection.execute(
                psql.SQL("drop database if exists {} with (force)").format(psql.Identifier(name))
            )


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """Yield a folder that an unprivileged server account can enter, unlike tmp_path."""
    with unprivileged_folder("flagstone-test-") as folder:
        yield folder


@pytest.fixture(scope="session")
def server(open_folder: Path) -> Iterator[Server]:
    with started(open_folder) as superuser:
        yield _migrated(superuser, open_folder)


@pytest.fixture(scope="session")
def embedded(server: Server) -> Iterator[Server]:
    """Yield the embedded server, even if the suite uses another version."""
    if not os.environ.get(CHOSEN_PROGRAMS):
        yield server
        return
    with unprivileged_folder("flagstone-test-") as folder, _embedded(folder) as superuser:
        yield _migrated(superuser, folder)


@contextmanager
def started(folder: Path) -> Iterator[Target]:
    """Run a server over its socket: the embedded one, or that of FLAGSTONE_FULL_POSTGRES_BIN."""
    if not os.environ.get(CHOSEN_PROGRAMS):
        with _embedded(folder) as superuser:
            yield superuser
        return
    with full_server(tls=False) as chosen:
        hosts = ((str(chosen.folder / "data"), chosen.port),)
        yield replace(chosen.superuser, hosts=hosts)


@contextmanager
def _embedded(folder: Path) -> Iterator[Target]:
    embedded = EmbeddedServer(folder, options=_FAST)
    embedded.start()
    yield embedded.superuser
    embedded.leave()


def _migrated(superuser: Target, folder: Path) -> Server:
    """Create our roles and a migrated template database."""
    provisioner = Provisioner(
        admin=superuser,
        settings=load({}).database,
        folder=folder / "credentials",
        database="flagstone",
    )
    provisioner.provision(reset_passwords=True)
    server = Server(superuser=superuser, folder=folder, provisioner=provisioner)
    Migrator(
        target=server.target(MIGRATOR), settings=provisioner.settings, instance="tests"
    ).migrate()
    return server


@pytest.fixture(scope="session")
def database_target(server: Server) -> Target:
    """Return the app role's connection to the migrated database of the suite."""
    server.create_database("suite", template="flagstone")
    return server.target(APP, "suite")


@pytest.fixture(scope="session")
def settings(server: Server, database_target: Target) -> Settings:
    base = load({"DATA_DIR": str(server.folder / "data"), "SEED_ON_START": "false", "PORT": "1"})
    return replace(
        base,
        database=replace(
            base.database,
            target=database_target,
            migrator=server.target(MIGRATOR, "suite"),
            # Long waits: tests check answers, not the load of the machine.
            command_timeout_seconds=30.0,
            acquire_timeout_seconds=30.0,
            lock_timeout_seconds=5.0,
        ),
        http=replace(base.http, request_timeout_seconds=100.0),
        # Tests beat themselves: a heartbeat between two steps would be another row.
        health=replace(base.health, interval_seconds=3_600.0, timeout_seconds=30.0),
    )


@dataclass(frozen=True, kw_only=True)
class Service:
    """The service under test, an administrator's client, and one without a token."""

    app: web.Application
    client: ClientSession
    stranger: ClientSession
    url: str
    admin_token: str

    async def token(
        self,
        *scopes: Scope,
        environments: tuple[str, ...] = ("*",),
        prefixes: tuple[str, ...] = ("",),
        expires_at: datetime | None = None,
    ) -> str:
        """Create a token that works at once."""
        grant = Grant(
            scopes=frozenset(scopes),
            environments=frozenset(environments),
            prefixes=frozenset(prefixes),
            expires_at=expires_at,
        )
        new = await self.app[DATABASE].transact(
            lambda c: tokens.create(self._edit(c), name="test", grant=grant)
        )
        await self.app[TOKENS].refresh()
        return new.text

    def component(self, type_: type[ComponentType]) -> ComponentType:
        """The running component of this type."""
        return next(part for part in self.app[COMPONENTS] if isinstance(part, type_))

    @contextmanager
    def replaced(self, component: Component) -> Iterator[None]:
        """Report the health of this component instead of the running one of its type."""
        components = self.app[COMPONENTS]
        index = components.index(self.component(type(component)))
        running, components[index] = components[index], component
        try:
            yield
        finally:
            components[index] = running

    @contextmanager
    def using(self, key: web.AppKey[Value], value: Value) -> Iterator[None]:
        """Replace an object of the running application. aiohttp warns against it."""
        before = self.app[key]
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            self.app[key] = value
        try:
            yield
        finally:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                self.app[key] = before

    @asynccontextmanager
    async def signed_in(self, token: str) -> AsyncIterator[ClientSession]:
        """Yield a browser that has signed in to the console with a token."""
        # A jar refuses cookies of an IP address otherwise.
        jar = CookieJar(unsafe=True)
        headers = {"Sec-Fetch-Site": "same-origin"}
        async with ClientSession(base_url=self.url, cookie_jar=jar, headers=headers) as browser:
            form = {"token": token}
            async with browser.post("/console/sign-in", data=form, allow_redirects=False) as answer:
                assert answer.status == 303, await answer.text()
            yield browser

    async def revoke(self, token: str) -> None:
        """Revoke a token as another instance does, without telling this one."""
        id_ = token.split("_")[2]
        await self.app[DATABASE].transact(lambda c: tokens.revoke(self._edit(c), id_))

    def _edit(self, connection: Connection) -> AccessEdit:
        return AccessEdit(
            connection=connection,
            log=self.app[ACCESS_LOG],
            key=token_key(self.app[SETTINGS]),
            origin=Origin(actor="test"),
        )


# The documented headers of each answer to a test, by (method, canonical path, status).
ANSWERED: defaultdict[tuple[str, str, int], set[str]] = defaultdict(set)


async def _record(request: web.Request, response: web.StreamResponse) -> None:
    resource = request.match_info.route.resource
    if resource is not None:
        headers = {name for name in RESPONSE_HEADERS if name in response.headers}
        ANSWERED[request.method, resource.canonical, response.status] |= headers


@asynccontextmanager
async def serving(settings: Settings, *, port: int = 0) -> AsyncIterator[Service]:
    """Run a service in this process until the block ends, by default on any free port."""
    app = create_app(settings)
    app.on_response_prepare.append(_record)
    runner = Runner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        port = runner.addresses[0][1]
        await asyncio.wait_for(app[LIFECYCLE].started.wait(), HANG_SECONDS)
        token = (settings.data_dir / ADMIN_TOKEN_FILE).read_text().strip()
        url = f"http://127.0.0.1:{port}"
        bearer = {"Authorization": f"Bearer {token}"}
        async with (
            ClientSession(base_url=url, headers=bearer) as client,
            ClientSession(base_url=url) as stranger,
        ):
            yield Service(app=app, client=client, stranger=stranger, url=url, admin_token=token)
    finally:
        await runner.cleanup()


@pytest.fixture(scope="session")
async def running(settings: Settings) -> AsyncIterator[Service]:
    """Run the service with its real runner on its own port for the session."""
    with pytest.MonkeyPatch.context() as patch:
        # Tests flush themselves: a flush between two steps would split one row.
        for interval in ("access.log.FLUSH", "access.last_used.FLUSH", "flags.usage.FLUSH"):
            patch.setattr(f"app.{interval}_SECONDS", 3_600.0)
        # The running export would report each cleaned history as replaced.
        patch.setattr("app.audit.head_export.EXPORT_SECONDS", 3_600.0)
        # Tests check answers, not the load of the machine.
        for limit in (
            "configuration.changes.content_checks.WAIT_SECONDS",
            "configuration.changes.environment_handlers.DELETION_SECONDS",
            "configuration.changes.handlers.HEAVY_SECONDS",
            "configuration.json_schema.pool.WAIT_SECONDS",
            "configuration.json_schema.pool.WALL_SECONDS",
            "configuration.transfer.import_requests.IMPORT_SECONDS",
            # They sample 10,000 keys, however long it takes while lines are counted.
            "console.changes.effect.SECONDS_MAX",
            "flags.handlers.PREVIEW_SECONDS",
            "flags.preview.SECONDS_MAX",
            "flags.preview.WAIT_SECONDS",
            "flags.proposals.preview.FLAGS_SECONDS",
            "server.components.TRANSFER_WAIT_SECONDS",
        ):
            patch.setattr(f"app.{limit}", HANG_SECONDS)
        # Health would warn for minutes after a test that floods the log.
        patch.setattr("app.access.log.WARN_SECONDS", 0.0)
        # `clean` begins new epochs.
        patch.setattr("app.configuration.snapshots.replacements.REPORTED_SECONDS", 0.0)
        async with serving(settings) as service:
            yield service
        # Answers encoded in advance bypass the hook.
        for labels, _ in service.app[DURATIONS]:
            if labels.route:
                ANSWERED[labels.method, labels.route, labels.status].add("X-Request-ID")
    documented = documented_answers()
    # Every answer has an X-Request-ID, so one of an unknown status is found too.
    undocumented = {
        answer: unknown
        for answer, headers in ANSWERED.items()
        # The console's pages and the calls of relays are no part of the API.
        if not answer[1].startswith(("/console", "/relay"))
        and (unknown := headers - documented.get(answer, set()))
    }
    assert not undocumented, f"the OpenAPI document does not know {undocumented}"


def documented_answers() -> dict[tuple[str, str, int], set[str]]:
    """Return the documented headers by (method, canonical path, status)."""
    described = describe()
    problems = described["components"]["responses"]
    return {
        (method.upper(), path, int(status)): set(
            (problems[status] if "$ref" in answer else answer)["headers"]
        )
        for path, operations in described["paths"].items()
        for name, operation in operations.items()
        # HEAD answers as GET and has no documentation of its own.
        for method in (["get", "head"] if name == "get" else [name])
        for status, answer in operation["responses"].items()
    }


@pytest.fixture
async def service(running: Service, cleaner: Admin, tmp_path: Path) -> AsyncIterator[Service]:
    """Yield the service with a clean database and no counts of earlier tests."""
    await running.app[USAGE].run_once()
    await running.app[ACCESS_LOG].run_once()
    # In a thread: running writers must be able to finish on the loop.
    await asyncio.to_thread(clean, cleaner)
    await running.app[FOLLOWER].refresh()
    # An earlier test may have left it out of memory, and not every test begins with a request.
    await running.app[FOLLOWER].read("local")
    running.app[RATE_LIMIT].forget()
    # A new export: it has not signed the histories of earlier tests.
    heads_file, key = tmp_path / "audit-heads.jsonl", running.app[TOKENS].key
    with running.replaced(HeadExport(running.app[DATABASE], heads_file, key)):
        yield running


@pytest.fixture
async def console(service: Service) -> AsyncIterator[ClientSession]:
    """Yield the browser of an administrator who is signed in to the console."""
    async with service.signed_in(service.admin_token) as browser:
        yield browser


@pytest.fixture
async def idle_follower(
    service: Service, settings: Settings, database_target: Target
) -> AsyncIterator[Follower]:
    """Yield a follower of the service's database that refreshes only when it is asked."""
    del service
    database = Database(settings.database)
    await database.open(database_target)
    follower = Follower(database)
    await follower.refresh()
    yield follower
    await database.close()


@pytest.fixture
def little_time_for_checks(running: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limit schema checks to 0.2 s of processor time."""
    with closing(Checkers(cpu_seconds=0.2)) as checkers:
        monkeypatch.setattr(running.app[CHECKS], "checkers", checkers)
        yield


@pytest.fixture(scope="session")
def cleaner(server: Server, database_target: Target) -> Iterator[Admin]:
    """Yield a connection for `clean`: to connect costs more than to delete."""
    with server.admin(database_target.database) as connection:
        # The order of the tables does not matter then, nor do triggers.
        connection.execute("set session_replication_role = replica")
        connection.execute(_cleaning().encode())
        yield connection


def clean(cleaner: Admin, *, epoch: str | None = None) -> None:
    """Delete the rows of tests; retain the session's admin token. `epoch` is that of local."""
    row = cleaner.execute("call pg_temp.clean(%s, '{}')", [epoch]).fetchone()
    assert row is not None
    (large,) = row
    assert isinstance(large, list)
    for table in large:
        cleaner.execute(f"vacuum flagstone.{table}".encode())


def _cleaning() -> str:
    """Return the procedure of `clean`, which names the tables that need a vacuum.

    One call takes 1 ms, and one statement for each table 10 ms. Not truncate: it takes 20 ms, and
    waits for readers. The commits release the locks, for which writers of the test may wait.
    """
    deletions = "".join(
        f"""
            delete from flagstone.{table} where {_ROWS_OF_TESTS.get(table, "true")};
            get diagnostics deleted = row_count;
            if deleted > 0 then commit; end if;
            if deleted > 1000 then large := large || '{table}'::text; end if;"""  # noqa: S608
        for table in TABLES
    )
    return f"""
        create procedure pg_temp.clean(local_epoch uuid, inout large text[]) language plpgsql as $$
        declare
            deleted bigint;
        begin
            -- An environment that is as new keeps its epoch: the follower reads each new one.
            update flagstone.environments e
            set revision = 0, first_revision = 1, deleted_at = null, hash = null,
                epoch = coalesce(case e.name when 'local' then local_epoch end, gen_random_uuid()),
                metadata = '{{}}', fractional = 'v3', version = 1, protected = name = 'production',
                protection = null
            where local_epoch is not null
                or (revision, first_revision, metadata, fractional, version, protected)
                    <> (0, 1, '{{}}', 'v3', 1, name = 'production')
                or num_nonnulls(deleted_at, hash, protection) > 0
                or exists (select from flagstone.configurations c where c.environment = e.name)
                or exists (select from flagstone.change_sets c where c.environment = e.name);
            commit;{deletions}
        end $$"""  # noqa: S608
