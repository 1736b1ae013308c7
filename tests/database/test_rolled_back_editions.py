"""A rollback of the migration that adds the editions of access, while an instance runs."""

from collections.abc import Iterator

import psycopg
import pytest

from app.access.directory import TokenDirectory
from app.access.format import generate_token
from app.access.mac import mac
from app.access.models import Grant, Scope
from app.components import ReportScope
from app.database import Database
from app.database.migrations import read_files
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, MIGRATOR
from app.errors import Unauthenticated
from app.settings import Secret, Settings
from tests.conftest import Server

DATABASE = "rolled_back_editions"
EDITIONS = "1795969820000-AddAccessEditions"
KEY = Secret("a key of tokens with enough characters, for this test")
GRANT = Grant(scopes=frozenset({Scope.READ}), environments=frozenset({"local"}), expires_at=None)


@pytest.fixture
def admin(server: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    server.create_database(DATABASE, "flagstone")
    with server.admin(DATABASE) as connection:
        yield connection
    server.drop_database(DATABASE)


async def test_revocation_is_noticed_after_the_rollback(
    server: Server, settings: Settings, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    token = generate_token(is_admin=False)
    admin.execute(
        "insert into flagstone.tokens (id, name, mac, scopes, environments, created_by) "
        "values (%s, 't', %s, '{read}', '{local}', 'test')",
        [token.id, mac(KEY, token.text, GRANT)],
    )
    database = Database(settings.database)
    await database.open(server.target(APP, DATABASE))
    directory = TokenDirectory(database, KEY)
    await directory.refresh()
    directory.authenticate(token.text)

    names = [file.name for file in read_files()]
    migrator = Migrator(
        target=server.target(MIGRATOR, DATABASE),
        settings=server.provisioner.settings,
        instance="tests",
    )
    migrator.roll_back(len(names) - names.index(EDITIONS))
    admin.execute("update flagstone.tokens set revoked_at = current_timestamp")
    refreshed = await directory.refresh_if_possible()
    status = directory.checks(ReportScope())["tokens"].status
    await database.close()

    assert (refreshed, status) == (True, "pass")
    with pytest.raises(Unauthenticated):
        directory.authenticate(token.text)
