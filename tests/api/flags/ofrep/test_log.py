"""An unknown flag is an ordinary answer: it is counted, and does not cause a log line."""

from collections import Counter
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from app.http.keys import DURATIONS
from app.settings import Settings
from tests.api.flags.ofrep.conftest import LOCAL, SWITCH, Client, client_of
from tests.conftest import Service, serving


def _answers(service: Service) -> Counter[int]:
    """Return how many single evaluations had each status."""
    return Counter(
        {
            labels.status: sum(series.counts)
            for labels, series in service.app[DURATIONS]
            if labels.method == "POST" and labels.route.startswith("/ofrep") and "{" in labels.route
        }
    )


@pytest.mark.parametrize("sample", [0, 1])
async def test_unknown_flag_is_logged_as_a_successful_read(
    ofrep: Client, settings: Settings, sample: int
) -> None:
    await ofrep.put("known", SWITCH)
    http = replace(settings.http, request_log_sample=sample)
    async with serving(replace(settings, http=http)) as service:
        client = await client_of(service)
        with capture_logs() as logged:
            for key in ("known", "unknown", "unknown"):
                await client.one(key, {})
            await client.one("known", {"context": None})
            await replace(client, base="/v1/environments/nowhere").one("known", {})
            await service.client.get(f"{LOCAL}/configurations/unknown")

        statuses = [event["status"] for event in logged if event["event"] == "request"]
        # The access log has the refusals.
        assert statuses == ([200, 404, 404, 400, 403, 404] if sample else [400])
        assert _answers(service) == {200: 1, 404: 2, 400: 1}
