"""Two releases run at the same time, as in a rolling update.

The newer release is a copy of this one with one more migration and other rights, so that the test
also runs where git has no history.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import ClientSession

from app.database.client.drivers import libpq_arguments
from app.database.embedded import EmbeddedServer
from app.database.role_names import APP
from app.settings import load
from tests.paths import ROOT
from tests.process.conftest import Process, put

_NEWEST = "1999999900000-CreateWidgetsTable"
_HEAD = "-- Expand: for a test.\n-- type: schema\n-- phase: core\n"
_UP = "create table widgets (id integer constraint widgets_pkey primary key);\n"
_RIGHTS_BEFORE = '"flag_usage": "select, insert, update",'
_RIGHTS = '"flag_usage": "select, insert, update, delete",\n    "widgets": "select, insert",'


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The code of a newer release: it has one more table, and one more right to an older one."""
    for folder in ("app", "sql", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / f"migrations/{_NEWEST}.sql").write_text(_HEAD + _UP)
    (tmp_path / f"migrations/{_NEWEST}.rollback.sql").write_text("drop table widgets;\n")
    privileges = tmp_path / "app/database/roles/rights.py"
    text = privileges.read_text()
    assert text.count(_RIGHTS_BEFORE) == 1
    privileges.write_text(text.replace(_RIGHTS_BEFORE, _RIGHTS))
    return tmp_path


@pytest.mark.slow
async def test_database_of_other_migrations_is_refused(
    launch: Callable[..., Process], newer: Path
) -> None:
    """The service says which database it needs, and how to keep the entries."""
    for path in (newer / "migrations").iterdir():
        path.rename(path.with_name(f"1999{path.name[4:]}"))
    process = launch()
    process.code = newer

    await process.start()
    assert process.child is not None
    code = await process.child.wait()

    assert code == 1
    assert "created from other migrations" in process.log
    assert "configuration export" in process.log
    assert "Traceback" not in process.log


def _rights(data_dir: Path) -> tuple[object, ...]:
    """Return whether the app role has the rights that the newer release granted."""
    superuser = EmbeddedServer(data_dir, account=None).superuser
    with psycopg.connect(
        **libpq_arguments(superuser.named("flagstone"), load({}).database)
    ) as connection:
        row = connection.execute(
            "select has_table_privilege(%(app)s, 'flagstone.widgets', 'insert'), "
            "has_table_privilege(%(app)s, 'flagstone.flag_usage', 'delete'), "
            "(select migration from flagstone.schema_fingerprints order by id desc limit 1)",
            {"app": APP},
        ).fetchone()
    assert row is not None
    return tuple(row)


async def _checks(client: ClientSession, process: Process) -> dict[str, Any]:
    async with client.get(f"{process.url}/health", headers=process.headers) as answer:
        assert answer.status == 200
        checks: dict[str, Any] = (await answer.json())["checks"]
    return {name: check[0] for name, check in checks.items()}


async def _restart(process: Process) -> None:
    if process.child is not None:
        assert await process.stop() == 0
    await process.start()
    await process.ready()


@pytest.mark.slow
async def test_older_release_beside_a_newer_one_takes_nothing(
    launch: Callable[..., Process], client: ClientSession, newer: Path
) -> None:
    old, new = (launch(SEED_ON_START="false") for _ in range(2))
    new.code = newer

    # The older release starts first. Then each one restarts while the other runs.
    for turn, process in enumerate((old, new, old, new)):
        await _restart(process)
        if turn:
            assert _rights(new.data_dir) == (True, True, _NEWEST)
    assert await put(client, old, "written-by-the-older", 1) == 201
    async with client.get(
        f"{new.url}/v1/environments/local/configurations/written-by-the-older?min_revision=1",
        headers=new.headers,
    ) as answer:
        status = answer.status
    checks = [await _checks(client, process) for process in (old, new)]

    assert status == 200
    assert [report["schema:drift"]["status"] for report in checks] == ["pass", "pass"]
    assert [report["migrations:pending"]["status"] for report in checks] == ["warn", "pass"]
    assert "migrated_by_newer_release" in old.log
    for process in (old, new):
        assert await process.stop() == 0
