"""Lists outside of the database: on the disk, in documents for flagd, and in cut uploads."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import pytest
from aiohttp import ClientError
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from app.access.directory import TokenDirectory
from app.access.guard import TOKENS
from app.configuration.lists.staging import Uploads
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.disk_copy import DiskCopy
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.reading import FOLLOWER
from app.evaluation import lists
from app.evaluation.lists import HashedList
from app.http.keys import DATABASE
from app.settings import Secret, Settings
from tests.api.configuration.test_lists import (
    CSV,
    FUTURE,
    LOCAL,
    NEW,
    PAST,
    patch,
    put_flag,
    upload,
    values,
)
from tests.conftest import Admin, Service
from tests.waiting import until


async def test_list_is_served_from_the_disk(
    service: Service, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"user-{number}" for number in range(11_000)]
    await upload(service, "\n".join([*names, f"old,{PAST}"]))
    await put_flag(service)
    await patch(service, 1, add=["eve"], remove=["user-7"])
    disk = Disk(tmp_path, Secret("k" * 32), settings.tier)
    await DiskCopy(service.app[FOLLOWER], service.app[TOKENS], disk).run_once()
    starting = Follower(service.app[DATABASE])
    directory = TokenDirectory(service.app[DATABASE], Secret("k" * 32))
    # As in another process.
    monkeypatch.setattr(lists, "LOADED", WeakValueDictionary[str, HashedList]())

    assert await DiskCopy(starting, directory, disk).serve_last_known()
    disk.release()

    (list_,) = starting.get("local").rules.lists
    found = [list_.has(name, 1_800_000_000) for name in ("user-8", "eve", "user-7", "old")]
    assert found == [True, True, False, False]
    flag = starting.get("local").rules.flags["f"]
    outcome = flag.evaluate({"targetingKey": "eve"}, 1_800_000_000).outcome
    assert outcome.value is True


def served(document: dict[str, Any], key: str) -> bool:
    core = FlagdCore()
    core.set_flags(json.dumps(document))
    return bool(core.resolve_boolean_value("f", False, EvaluationContext(key, {})).value)


@pytest.mark.parametrize(
    "path", ["flags.json", "export?format=flagd", "export?format=flagd&revision=2"]
)
async def test_small_list_is_inlined_for_flagd(service: Service, path: str) -> None:
    await upload(service, f"ada\nbob,{FUTURE}\nold,{PAST}\n")
    await put_flag(service)

    answer = await service.client.get(f"{LOCAL}/{path}")
    document = json.loads(await answer.read())

    assert "in_list" not in json.dumps(document)
    assert [served(document, key) for key in ("ada", "bob", "old", "eve")] == [
        True,
        True,
        False,
        False,
    ]


async def test_flag_with_a_large_list_is_left_out_for_flagd(service: Service) -> None:
    await upload(service, "\n".join(f"user-{number}" for number in range(10_001)))
    await put_flag(service)
    segment = {"in_list": ["beta", {"var": "email"}]}
    await service.client.put(
        f"{LOCAL}/configurations/staff", json={"kind": "segment", "value": segment}, headers=NEW
    )
    await service.client.put(
        f"{LOCAL}/configurations/other",
        json={
            "kind": "flag",
            "value": {
                "state": "ENABLED",
                "variants": {"on": True, "off": False},
                "defaultVariant": "off",
                "targeting": {"if": [{"$ref": "staff"}, "on", "off"]},
            },
        },
        headers=NEW,
    )
    answer = await service.client.get(f"{LOCAL}/flags.json")
    document = await answer.json()
    assert answer.headers["Flagstone-Left-Out"] == "f, other"
    assert document["flags"] == {}
    assert "$evaluators" not in document


async def _half_of_an_upload() -> AsyncIterator[bytes]:
    for number in range(20_000):
        yield f"user-{number}\n".encode()
    await asyncio.sleep(0.2)
    raise ClientError


async def test_cut_upload_changes_nothing_and_leaves_nothing(
    service: Service, cleaner: Admin
) -> None:
    await upload(service, "ada\n")

    with pytest.raises(ClientError):
        await service.client.put(
            f"{LOCAL}/lists/beta", data=_half_of_an_upload(), headers=CSV | {"If-Match": '"1"'}
        )

    async def is_cleaned() -> bool:
        await service.component(Uploads).clean()
        return cleaner.execute("select count(*) from flagstone.list_stores").fetchone() == (1,)

    await until(is_cleaned)
    assert await values(service) == ["ada"]
    assert cleaner.execute("select count(*) from flagstone.list_values").fetchone() == (1,)
    entry = await (await service.client.get(f"{LOCAL}/configurations/beta")).json()
    assert entry["version"] == 1


async def test_unconfirmed_upload_retains_its_committed_values(
    service: Service, cleaner: Admin
) -> None:
    await upload(service, "ada\n")
    uploads = service.component(Uploads)
    (store,) = cleaner.execute("select id from flagstone.list_stores").fetchone() or (None,)
    assert isinstance(store, int)
    # As after a commit whose answer is lost.
    uploads.discard_soon(store)

    await uploads.clean()

    assert await values(service) == ["ada"]
