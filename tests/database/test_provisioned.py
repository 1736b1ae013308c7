"""Test that an embedded server is provisioned again only when something differs."""

from collections.abc import Iterator

import psycopg
import pytest

from app.database.client.drivers import libpq_arguments
from app.database.role_names import APP, MIGRATOR, PREFIX
from app.database.targets import Targets, embedded_server, open_targets, provisioned_state
from app.settings import Settings, Target, load
from tests.database.full_postgres import open_folder

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


def _of(targets: Targets) -> tuple[Target, ...]:
    return targets.app, targets.migrator, targets.backup


def _connects(target: Target, settings: Settings) -> bool:
    with psycopg.connect(**libpq_arguments(target, settings.database)) as connection:
        return connection.execute("select 1").fetchone() == (1,)
