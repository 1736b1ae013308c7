"""Three instances of one service."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.process.conftest import Process


@pytest.fixture
async def three(launch: Callable[..., Process]) -> AsyncIterator[list[Process]]:
    """Three instances on one PostgreSQL. The last one receives no notifications."""
    owner = launch()
    await owner.start()
    await owner.ready()
    urls = {
        f"DATABASE_{name}URL": (owner.data_dir / f"credentials/{role}.url").read_text().strip()
        for name, role in (("", "app"), ("MIGRATOR_", "migrator"))
    }
    others = [launch(**urls), launch(**urls, DATABASE_POOLER="transaction")]
    for other in others:
        await other.start()
        await other.ready()
    yield [owner, *others]
    for process in (*reversed(others), owner):
        assert await process.stop() == 0
