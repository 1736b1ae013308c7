"""TLS with both drivers: certificates are verified, and a refused connect is not retried."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import psycopg
import pytest

from app.database import Database
from app.database.client.connector import Connector, is_transient
from app.database.client.drivers import libpq_arguments
from app.database.client.reasons import DatabaseRefusedError, connecting
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, MIGRATOR
from app.database.roles.check import check_role
from app.database.roles.rights import TABLES
from app.operations.doctor.examination import CHECKS, examine
from app.operations.doctor.findings import FindingVerdict
from app.settings import Settings, Target, Tier, Tls, TlsMode, load
from tests.conftest import serving
from tests.database.full_postgres import (
    CERTIFIED,
    CHOSEN_PROGRAMS,
    Authority,
    FullServer,
    make_authority,
    version_of,
)
from tests.database.proxy import proxied

LIMITS = replace(load({}).database, command_timeout_seconds=5.0, acquire_timeout_seconds=5.0)


@pytest.fixture(scope="module")
def full(tls_server: FullServer) -> FullServer:
    """A database that was provisioned and migrated over TLS."""
    tls_server.provisioner.provision()
    _migrator(tls_server.target(MIGRATOR)).migrate()
    with tls_server.admin() as connection:
        connection.execute(f"create role {CERTIFIED} login")
        connection.execute(f"grant connect on database flagstone to {CERTIFIED}")
    return tls_server


@pytest.fixture(scope="module")
def authority(full: FullServer) -> Authority:
    assert full.authority is not None
    return full.authority


@pytest.fixture
def untrusted(tmp_path: Path) -> Authority:
    """Create an untrusted certificate authority."""
    return make_authority(tmp_path, "untrusted")


def _migrator(target: Target) -> Migrator:
    return Migrator(target=target, settings=LIMITS, instance="tests")


@asynccontextmanager
async def _opened(target: Target) -> AsyncIterator[Database]:
    database = Database(LIMITS)
    await database.open(target)
    try:
        yield database
    finally:
        await database.close()


async def _connect_by_asyncpg(target: Target) -> BaseException | None:
    """Open a pool, and return the error or None."""
    try:
        async with _opened(target):
            return None
    except (OSError, asyncpg.PostgresError) as error:
        return error


async def _connect_by_libpq(target: Target) -> BaseException | None:
    """Read the status of the migrations, and return the error or None."""
    try:
        await asyncio.to_thread(_migrator(target).status)
    except psycopg.OperationalError as error:
        return error
    return None


DRIVERS = pytest.mark.parametrize(
    "connect", [_connect_by_asyncpg, _connect_by_libpq], ids=["asyncpg", "libpq"]
)
Connect = Callable[[Target], "asyncio.Future[BaseException | None]"]


def _wrong_authority(target: Target, untrusted: Authority) -> Target:
    return replace(target, tls=replace(target.tls, ca=untrusted.file))


def _wrong_host_name(target: Target, _: Authority) -> Target:
    return replace(target, hosts=(("127.0.0.1", target.hosts[0][1]),))


@pytest.mark.slow
@DRIVERS
@pytest.mark.parametrize("break_target", [_wrong_authority, _wrong_host_name])
async def test_untrusted_server_certificate_is_refused(
    full: FullServer,
    untrusted: Authority,
    connect: Connect,
    break_target: Callable[[Target, Authority], Target],
) -> None:
    async with proxied(full.target(MIGRATOR)) as (proxy, target):
        named = replace(target, hosts=(("localhost", proxy.port),))
        error = await connect(break_target(named, untrusted))

        assert isinstance(error, ssl.SSLCertVerificationError | psycopg.OperationalError)
        assert "certificate" in str(error)
        assert proxy.connections == 1
    assert isinstance(error, psycopg.Error) or not is_transient(error)


@DRIVERS
async def test_server_without_tls_is_refused(
    full: FullServer, plain_server: FullServer, connect: Connect
) -> None:
    async with proxied(plain_server.target(MIGRATOR)) as (proxy, target):
        tls_target = replace(
            target, hosts=(("localhost", proxy.port),), tls=full.target(MIGRATOR).tls
        )
        error = await connect(tls_target)

        assert isinstance(error, ConnectionError | psycopg.OperationalError)
        assert proxy.connections == 1
    assert isinstance(error, psycopg.Error) or not is_transient(error)


@DRIVERS
@pytest.mark.parametrize("mode", [TlsMode.DISABLE])
async def test_client_without_tls_is_refused(
    full: FullServer, connect: Connect, mode: TlsMode
) -> None:
    error = await connect(replace(full.target(MIGRATOR), tls=Tls(mode=mode)))

    assert error is not None
    assert "pg_hba.conf" in str(error)


@DRIVERS
@pytest.mark.parametrize(
    "case",
    [
        (TlsMode.VERIFY_FULL, "ours", "localhost", True),
        (TlsMode.VERIFY_CA, "ours", "127.0.0.1", True),
        (TlsMode.VERIFY_CA, "untrusted", "localhost", False),
        (TlsMode.REQUIRE, None, "127.0.0.1", True),
        (TlsMode.REQUIRE, "ours", "127.0.0.1", True),
        (TlsMode.REQUIRE, "untrusted", "localhost", False),
        (TlsMode.PREFER, None, "127.0.0.1", True),
    ],
)
async def test_both_drivers_agree_on_each_tls_mode(
    full: FullServer,
    authority: Authority,
    untrusted: Authority,
    connect: Connect,
    case: tuple[TlsMode, str | None, str, bool],
) -> None:
    mode, trusts, host, accepted = case
    target = full.target(MIGRATOR)
    ca = {"ours": authority.file, "untrusted": untrusted.file}[trusts] if trusts else None
    error = await connect(replace(target, hosts=((host, full.port),), tls=Tls(mode=mode, ca=ca)))

    assert (error is None) == accepted


@DRIVERS
async def test_verify_full_without_ca_uses_the_system_store(
    full: FullServer, connect: Connect
) -> None:
    """The system store lacks our authority. A missing file would raise another error."""
    error = await connect(
        replace(full.target(MIGRATOR), tls=Tls(mode=TlsMode.VERIFY_FULL, ca=None))
    )

    assert error is not None
    assert "certificate verify failed" in str(error)


async def test_pool_uses_tls_and_keepalive(full: FullServer) -> None:
    async with _opened(full.target(APP)) as database, database.connection() as connection:
        row = await connection.fetchrow(
            "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
        )
        peer = connection._con._transport.get_extra_info("socket")  # type: ignore[attr-defined]

    assert row is not None
    assert (row["ssl"], row["version"]) == (True, "TLSv1.3")
    assert peer is not None


def test_migrations_use_tls(full: FullServer) -> None:
    with psycopg.connect(**libpq_arguments(full.target(MIGRATOR), LIMITS)) as connection:
        row = connection.execute(
            "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
        ).fetchone()

    assert row == (True, "TLSv1.3")


@pytest.fixture(scope="module")
def certified(full: FullServer, authority: Authority) -> Target:
    """A role without a password, which logs in with its certificate."""
    chain, key = authority.certificate(full.folder, CERTIFIED)
    return replace(
        full.target(APP),
        user=CERTIFIED,
        password=None,
        tls=Tls(mode=TlsMode.VERIFY_FULL, ca=authority.file, certificate=chain, key=key),
    )


@DRIVERS
async def test_client_certificate_is_accepted(certified: Target, connect: Connect) -> None:
    assert await connect(certified) is None


@DRIVERS
async def test_client_without_certificate_is_refused(certified: Target, connect: Connect) -> None:
    without = replace(certified, tls=replace(certified.tls, certificate=None, key=None))

    error = await connect(without)

    assert error is not None
    assert "certificate" in str(error)
    assert isinstance(error, psycopg.Error) or not is_transient(error)


@DRIVERS
async def test_certificate_of_another_role_is_refused(
    certified: Target, authority: Authority, connect: Connect, tmp_path: Path
) -> None:
    chain, key = authority.certificate(tmp_path, "other")

    error = await connect(
        replace(certified, tls=replace(certified.tls, certificate=chain, key=key))
    )

    assert error is not None
    assert isinstance(error, psycopg.Error) or not is_transient(error)


@DRIVERS
async def test_certificate_of_an_unknown_authority_is_refused(
    certified: Target, untrusted: Authority, connect: Connect, tmp_path: Path
) -> None:
    chain, key = untrusted.certificate(tmp_path, CERTIFIED)

    error = await connect(
        replace(certified, tls=replace(certified.tls, certificate=chain, key=key))
    )

    assert error is not None


def test_role_urls_have_the_tls_of_the_administrator(
    full: FullServer, authority: Authority
) -> None:
    for target in full.provisioner.targets().values():
        assert target.tls == Tls(mode=TlsMode.VERIFY_FULL, ca=authority.file)
        assert target.hosts == (("localhost", full.port),)


def test_schema_fits_the_older_version(full: FullServer) -> None:
    ledger = _migrator(full.target(MIGRATOR)).status()

    assert (ledger.pending, ledger.problems) == ([], [])
    with full.admin("flagstone") as connection:
        rows = connection.execute(
            "select relname from pg_class "
            "where relnamespace = 'flagstone'::regnamespace and relkind = 'r'"
        ).fetchall()
    assert {row[0] for row in rows} == set(TABLES)
    assert version_of(full) < 18 or CHOSEN_PROGRAMS in os.environ


@pytest.mark.slow
def test_older_version_can_roll_back_and_migrate_again(full: FullServer) -> None:
    migrator = _migrator(full.target(MIGRATOR, full.create_database("older")))
    applied = migrator.migrate()

    assert migrator.roll_back(len(applied)) == applied[::-1]
    assert migrator.migrate() == applied


async def test_service_runs_on_the_older_version_over_tls(
    full: FullServer, settings: Settings, tmp_path: Path
) -> None:
    ours = replace(
        settings,
        data_dir=tmp_path,
        database=replace(
            settings.database, target=full.target(APP), migrator=full.target(MIGRATOR)
        ),
    )
    path = "/v1/environments/local/configurations/tls"

    async with serving(ours) as service:
        written = await service.client.put(
            path, json={"value": {"n": 1e300}}, headers={"If-None-Match": "*"}
        )
        read = await service.client.get(path)
        deleted = await service.client.delete(path, headers={"If-Match": '"1"'})
        ready = await service.client.get("/health/ready")

        assert (written.status, read.status, deleted.status, ready.status) == (201, 200, 200, 200)
        assert (await read.json())["value"] == {"n": 1e300}


async def test_app_role_has_no_powers_on_the_older_version(
    full: FullServer,
) -> None:
    async with _opened(full.target(APP)) as database:
        await check_role(database, Tier.PRODUCTION)


@pytest.mark.parametrize("mode", [TlsMode.VERIFY_FULL, TlsMode.REQUIRE])
async def test_doctor_reports_the_tls_in_use(
    full: FullServer, settings: Settings, mode: TlsMode
) -> None:
    target = full.target(APP)
    target = replace(target, tls=replace(target.tls, mode=mode))
    checks = [check for check in CHECKS if check.name in {"TLS", "connection"}]

    findings = await examine(
        replace(
            settings,
            tier=Tier.PRODUCTION,
            database=replace(settings.database, target=target, migrator=target),
        ),
        checks=checks,
    )

    tls = next(finding for finding in findings if finding.name == "TLS")
    is_verified = mode is TlsMode.VERIFY_FULL
    assert tls.verdict is (FindingVerdict.PASS if is_verified else FindingVerdict.FAIL)
    assert tls.text.startswith("TLSv1.3, TLS_")
    assert ("does not verify the server" in tls.text) is not is_verified


async def test_refusal_of_an_unknown_authority_names_the_setting(
    full: FullServer, untrusted: Authority
) -> None:
    target = _wrong_authority(full.target(APP), untrusted)
    with pytest.raises(DatabaseRefusedError) as refusal, connecting(target, LIMITS):
        await Connector(target, LIMITS)()

    assert not refusal.value.may_pass
    assert "presents an untrusted certificate" in str(refusal.value)
    assert str(refusal.value).endswith("see DATABASE_TLS_CA and sslrootcert")
