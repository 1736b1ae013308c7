"""Metrics and health name only the environments of the token."""

import json
from datetime import UTC, datetime, timedelta

from app.access.models import Scope
from app.audit.head_export import HeadExport
from app.http.keys import DATABASE
from app.secrets.reveal import VAULT
from app.secrets.vault import ROTATION_DUE
from tests.conftest import Server, Service
from tests.factories import flag

NAMES = ("local", "development", "staging", "production")
NEW = {"If-None-Match": "*"}


async def _fill(service: Service, server: Server) -> None:
    """Add a flag usage, a secret and an old data key to every environment."""
    for name in NAMES:
        base = f"/v1/environments/{name}"
        for key, body in (
            ("flag", {"value": flag(), "kind": "flag"}),
            ("secret", {"value": "s", "kind": "secret"}),
        ):
            answer = await service.client.put(
                f"{base}/configurations/{key}", json=body, headers=NEW
            )
            assert answer.status == 201
        await service.client.post(f"{base}/ofrep/v1/evaluate/flags", json={})
    made_at = datetime.now(UTC) - ROTATION_DUE - timedelta(days=1)
    with server.admin("suite") as connection:
        connection.execute("update flagstone.data_keys set created_at = %s", [made_at])
    async with service.app[DATABASE].connection() as acquired:
        await service.app[VAULT].refresh(acquired)
    service.component(HeadExport).broken.update(dict.fromkeys(NAMES, "revision 7 is gone"))


async def _reports(service: Service, *environments: str) -> tuple[str, str]:
    token = await service.token(Scope.READ, environments=environments)
    shown = {"Authorization": f"Bearer {token}"}
    answers = [await service.stranger.get(path, headers=shown) for path in ("/metrics", "/health")]
    assert {answer.status for answer in answers} == {200}
    metrics, health = [await answer.text() for answer in answers]
    return metrics, health


async def test_metrics_and_health_name_only_environments_of_the_token(
    service: Service, server: Server
) -> None:
    await _fill(service, server)

    metrics, health = await _reports(service, "staging")
    all_metrics, all_health = await _reports(service, "*")

    for text in (metrics, health):
        assert "staging" in text
        assert not [name for name in NAMES if name != "staging" and name in text]
    for name in NAMES:
        assert f'environment="{name}"' in all_metrics
        assert f"snapshot:{name}" in all_health
    checks, all_checks = (json.loads(text)["checks"] for text in (health, all_health))
    assert all_checks.keys() - checks.keys() == {
        f"snapshot:{name}" for name in NAMES if name != "staging"
    }
    assert checks["keys"][0]["output"].endswith(": staging, 3 that this token is not for")
    assert checks["audit:chain"][0]["status"] == "warn"
