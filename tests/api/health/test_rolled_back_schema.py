"""A rollback of the latest tables, while an instance of this release serves."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.database.migrations import read_files
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, MIGRATOR
from app.settings import Settings
from tests.conftest import Server, Service, serving
from tests.waiting import until

DATABASE = "rolled_back_locks"
LOCKS = "1795978015760-AddLocks"


@pytest.fixture
def migrator(server: Server) -> Migrator:
    return Migrator(
        target=server.target(MIGRATOR, DATABASE),
        settings=server.provisioner.settings,
        instance="tests",
    )


@pytest.fixture
async def beside(
    server: Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    """Yield a service whose periodic check of the migrations comes too late for a test."""
    monkeypatch.setattr("app.schema.version_check.CHECK_SECONDS", 3_600.0)
    server.create_database(DATABASE, "flagstone")
    database = replace(
        settings.database,
        target=server.target(APP, DATABASE),
        migrator=server.target(MIGRATOR, DATABASE),
    )
    async with serving(replace(settings, database=database, data_dir=tmp_path)) as service:
        yield service
    server.drop_database(DATABASE)


async def test_first_unfit_statement_fails_readiness(beside: Service, migrator: Migrator) -> None:
    names = [file.name for file in read_files()]
    token = {"name": "t", "scopes": ["read"], "environments": ["local"]}

    async def has_status(status: int) -> bool:
        async with beside.stranger.get("/health/ready") as answer:
            return answer.status == status

    migrator.roll_back(len(names) - names.index(LOCKS))
    assert await has_status(200)
    async with beside.client.post("/v1/tokens", json=token) as answer:
        problem = await answer.json(content_type=None)
        assert (answer.status, problem["code"]) == (503, "schema_unfit")
    await until(lambda: has_status(503))

    migrator.migrate()
    await until(lambda: has_status(200))
    async with beside.client.post("/v1/tokens", json=token) as answer:
        assert answer.status == 201, await answer.text()
