"""The log lines of probes: only at debug while they succeed, and in the local tier."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from app.http.keys import LIFECYCLE
from app.settings import Settings, Tier
from tests.conftest import serving


@pytest.mark.parametrize(
    ("tier", "levels"), [(Tier.LOCAL, ["debug", "debug"]), (Tier.DEVELOPMENT, ["debug", "info"])]
)
async def test_probe_is_logged_at_debug(settings: Settings, tier: Tier, levels: list[str]) -> None:
    async with serving(replace(settings, tier=tier)) as service:
        with capture_logs() as logged:
            assert (await service.stranger.get("/health/ready")).status == 200
            service.app[LIFECYCLE].draining.set()
            assert (await service.stranger.get("/health/ready")).status == 503

    lines = [line for line in logged if line["event"] == "request"]
    assert [line["log_level"] for line in lines] == levels
    assert [line["status"] for line in lines] == [200, 503]
