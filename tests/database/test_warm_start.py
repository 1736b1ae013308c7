"""Test that a start provisions and migrates again only when something differs."""

from collections.abc import Iterator

import psycopg
import pytest

from app.database.client.drivers import libpq_arguments
from app.database.client.primary import Primary
from app.database.migrations import read_files
from app.database.migrations.runner import Migrator
from app.database.migrations.up_to_date import is_up_to_date
from app.database.role_names import APP, MIGRATOR, PREFIX
from app.database.targets import (
    Targets,
    connected,
    embedded_server,
    open_targets,
    open_targets_async,
    provisioned_state,
)
from app.settings import Settings, Target, load
from tests.database.full_postgres import open_folder

# Changes of a superuser that provisioning repairs.
_CHANGES = (
    f"alter role {APP} password 'another'",
    f"alter role {APP} connection limit 5",
    f"alter role {APP} in database {PREFIX} reset statement_timeout",
    f"revoke connect on database {PREFIX} from {APP}",
    f"revoke flagstone_owner from {MIGRATOR}",
    "grant create on schema public to public",
    "drop event trigger flagstone_sql_drop",
    (
        "alter default privileges for role flagstone_owner in schema flagstone "
        "revoke select on tables from flagstone_backup"
    ),
)
# Changes of a superuser after which the migrator has work.
_WORK = (
    'delete from flagstone.migrations where "timestamp" = 1795890000002',
    "update flagstone.migrations set checksum = repeat('0', 64)",
    "update flagstone.migrations set state = 'running'",
    "revoke insert on flagstone.tokens from flagstone_app",
    "grant delete on flagstone.change_sets to flagstone_app",
    "create view flagstone.v as select 1 as a; grant select on flagstone.v to flagstone_app",
    "create table flagstone.t (a integer)",
    "delete from flagstone.schema_fingerprints",
    "update flagstone.schema_fingerprints set migration = 'another'",
    "update flagstone.schema_fingerprints set facts = array_remove(facts, 'wording 2')",
    "update flagstone.schema_fingerprints set recording = false",
    "alter table flagstone.schema_fingerprints rename to other",
)


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Yield the settings of a folder whose embedded server runs, and is provisioned."""
    with open_folder("flagstone-provisioned-") as folder:
        settings = load({"DATA_DIR": str(folder)})
        with open_targets(settings):
            yield settings


def test_provisioned_server_is_not_provisioned_again(settings: Settings) -> None:
    state = provisioned_state(embedded_server(settings), settings)
    before = state.file.stat().st_mtime_ns

    with open_targets(settings) as targets:
        assert _connects(targets.app, settings)

    assert state.is_current()
    assert state.file.stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.parametrize("statement", _CHANGES)
def test_changed_server_is_repaired_by_the_next_start(settings: Settings, statement: str) -> None:
    server = embedded_server(settings)
    state = provisioned_state(server, settings)
    arguments = libpq_arguments(server.superuser.named(PREFIX), settings.database)
    with psycopg.connect(**arguments, autocommit=True) as connection:
        connection.execute(statement.encode())

    assert not state.is_current()
    with open_targets(settings) as targets:
        assert all(_connects(target, settings) for target in _of(targets))
    assert state.is_current()


def test_readable_credentials_are_refused_by_the_next_start(settings: Settings) -> None:
    folder = settings.data_dir / "credentials"
    folder.chmod(0o755)
    try:
        with pytest.raises(Exception, match="must have mode 0700"), open_targets(settings):
            pass
    finally:
        folder.chmod(0o700)


@pytest.mark.slow
async def test_migrator_has_work_only_after_a_change(settings: Settings) -> None:
    superuser = embedded_server(settings).superuser.named(PREFIX)
    async with open_targets_async(settings) as targets:
        Migrator(target=targets.migrator, settings=settings.database, instance="test").migrate()
        async with connected(targets.migrator, settings, Primary()) as connection:
            assert await is_up_to_date(connection, read_files())
    unseen = []
    async with connected(superuser, settings, Primary()) as connection:
        for statement in _WORK:
            change = connection.transaction()
            await change.start()
            await connection.execute(statement)
            if await is_up_to_date(connection, read_files()):
                unseen.append(statement)
            await change.rollback()

    assert unseen == []


def _of(targets: Targets) -> tuple[Target, ...]:
    return targets.app, targets.migrator, targets.backup


def _connects(target: Target, settings: Settings) -> bool:
    with psycopg.connect(**libpq_arguments(target, settings.database)) as connection:
        return connection.execute("select 1").fetchone() == (1,)
