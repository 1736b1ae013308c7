"""Real files, loaded and read back over HTTP, equal as JSON; each load is one change set."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from app.configurations.documents import read_document
from app.configurations.loading import Plan, apply_plan, plan
from app.errors import Invalid
from app.http.keys import DATABASE
from app.snapshots.reading import FOLLOWER
from tests.conftest import Service

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public example data is not here")


async def _load(service: Service, path: Path) -> tuple[Plan, int | None]:
    document = read_document(path)

    async def work(connection: Any) -> tuple[Plan, int | None]:
        wanted = await plan(connection, "local", document)
        made = await apply_plan(connection, "local", wanted, actor="test", message="load")
        return wanted, made.revision if made else None

    outcome = await service.app[DATABASE].transact(work)
    await service.app[FOLLOWER].refresh()
    return outcome


async def _read_all(service: Service) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    after: str | None = ""
    while after is not None:
        answer = await service.client.get(
            "/v1/environments/local/configurations", params={"limit": "500", "after": after}
        )
        page = await answer.json()
        found |= {item["key"]: item for item in page["items"]}
        after = page["next"]
    return found


@needs_data
async def test_flagds_example_comes_back_as_it_went_in(service: Service) -> None:
    path = DATA / "example_flags.flagd.json"
    original = json.loads(path.read_text())

    _, revision = await _load(service, path)

    found = await _read_all(service)
    assert revision == 1
    assert {k: v["value"] for k, v in found.items() if v["kind"] == "flag"} == original["flags"]
    assert {k: v["value"] for k, v in found.items() if v["kind"] == "segment"} == original.get(
        "$evaluators", {}
    )


@needs_data
async def test_757_variables_come_back_as_they_went_in(service: Service) -> None:
    path = DATA / "laradock.env"
    original = dotenv_values(stream=StringIO(path.read_text()), interpolate=False)

    wanted, revision = await _load(service, path)
    again, no_revision = await _load(service, path)

    found = await _read_all(service)
    assert len(wanted.created) == len(original) == 757
    assert {key: item["value"] for key, item in found.items()} == original
    assert revision == 1
    assert (again.operations, no_revision) == ([], None)


async def test_only_what_differs_is_written_and_the_rest_of_an_entry_stays(
    service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("a: 1\nb: true\n")
    for key, value in (("a", 1), ("b", 1), ("c", 1)):
        await service.client.put(
            f"/v1/environments/local/configurations/{key}",
            json={"value": value, "description": "kept"},
            headers={"If-None-Match": "*"},
        )

    wanted, revision = await _load(service, path)

    found = await _read_all(service)
    assert (wanted.updated, wanted.unchanged, revision) == (["b"], ["a"], 4)
    assert (found["b"]["value"], found["b"]["description"], found["b"]["version"]) == (
        True,
        "kept",
        2,
    )
    assert found["c"]["version"] == 1


async def test_a_load_that_breaks_one_rule_writes_nothing(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text('{"a": 1, "flag": 2}')
    await service.client.put(
        "/v1/environments/local/configurations/flag",
        json={"value": {}, "kind": "flag"},
        headers={"If-None-Match": "*"},
    )

    with pytest.raises(Invalid, match="flag is a flag already"):
        await _load(service, path)

    assert list(await _read_all(service)) == ["flag"]
