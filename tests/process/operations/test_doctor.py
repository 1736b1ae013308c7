"""`doctor` next to a running service: healthy, with a readable key ring, and without one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.process.conftest import Process, run
from tests.waiting import until


async def _verdicts(launch: Callable[..., Process], **environ: str) -> dict[str, Any]:
    code, text = await run(launch, "doctor", "--json", **environ)
    report = json.loads(text)
    assert code == (report["verdict"] == "fail")
    return {
        finding["name"]: (finding["verdict"], finding["text"]) for finding in report["findings"]
    }


# Files that the server writes while the doctor runs.
_OF_THE_SERVICE = ("service-", "pg18", "audit-heads")


def _files(folder: Path) -> set[Path]:
    """Return the files that neither a running server nor these processes' logs change."""
    return {path for path in folder.iterdir() if not path.name.startswith(_OF_THE_SERVICE)}


@pytest.mark.slow
async def test_doctor_follows_an_installation_from_good_to_broken(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch()
    await service.start()
    await service.ready()
    async with client.put(
        f"{service.url}/v1/environments/local/configurations/db/password",
        json={"kind": "secret", "value": "hush"},
        headers=service.headers | {"If-None-Match": "*"},
    ) as written:
        assert written.status == 201
    ring = service.data_dir / "key-ring"

    async def has_snapshots() -> bool:
        return (service.data_dir / "snapshots").exists()

    await until(has_snapshots)
    before = _files(service.data_dir)

    code, text = await run(launch, "doctor")
    ring.chmod(0o640)
    well = await _verdicts(launch)
    assert _files(service.data_dir) == before

    assert code == 0, text
    assert " 0 warn, 0 fail" in text
    for line in ("app connection", "takes writes", "because a Unix socket needs none"):
        assert line in text
    assert {name for name, (verdict, _) in well.items() if verdict == "fail"} == set()
    assert {name for name, (verdict, _) in well.items() if verdict == "not available here"} == {
        *("TLS", "verifiers", "backups")
    }
    assert well["data keys"] == ("pass", "all 1 can be unwrapped")
    assert {name for name, (verdict, _) in well.items() if verdict == "warn"} == {"key ring's file"}

    right = ring.read_text()
    ring.unlink()
    lost = await _verdicts(launch)

    assert lost["data keys"][0] == "fail"
    assert right.split()[1] in lost["data keys"][1]
    assert not ring.exists()
    assert right.split()[2] not in f"{text}{well}{lost}"
    assert await service.stop() == 0


async def test_unusable_settings_are_reported_as_text_and_json(
    launch: Callable[..., Process],
) -> None:
    url = "postgresql://app:hunter2@127.0.0.1:9/flagstone"

    code, text = await run(launch, "doctor", TIER="production", PORT="0", DATABASE_URL=url)
    findings = await _verdicts(launch, TIER="production", PORT="0", DATABASE_URL=url)

    assert code == 1
    assert text.startswith("error: The settings are invalid:\n  PORT: must be a whole number")
    assert findings["PORT"] == ("fail", "must be a whole number from 1 to 65535")
    assert "hunter2" not in f"{text}{findings}"
