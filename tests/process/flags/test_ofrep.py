"""Flags are evaluated while PostgreSQL is unavailable, and answers have the age of the state."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import ClientSession
from multidict import CIMultiDictProxy

from app.configuration.snapshots.source import STALE_AFTER_SECONDS
from tests.process.conftest import Process
from tests.waiting import until

LOCAL = "/v1/environments/local"
FLAGS = f"{LOCAL}/ofrep/v1/evaluate/flags"
OURS = {"context": {"targetingKey": "u", "email": "u@example.org"}}


async def evaluate(
    client: ClientSession,
    process: Process,
    path: str = FLAGS,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any, CIMultiDictProxy[str]]:
    shown = process.headers | dict(headers or {})
    async with client.post(process.url + path, json=OURS, headers=shown) as answer:
        body = await answer.json() if answer.status != 304 else None
        return answer.status, body, answer.headers


@pytest.mark.slow
async def test_evaluation_continues_without_postgresql(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    owner = launch()
    await owner.start()
    await owner.ready()
    url = (owner.data_dir / "credentials/app.url").read_text().strip()
    migrator = (owner.data_dir / "credentials/migrator.url").read_text().strip()
    # After the restart the URLs of its streams are the same, and so is every tag.
    instance = launch(
        DATABASE_URL=url, DATABASE_MIGRATOR_URL=migrator, PUBLIC_URL="https://flags.example"
    )
    await instance.start()
    await instance.ready()
    _, before, headers = await evaluate(client, instance)
    tag = {"If-None-Match": headers["ETag"]}
    place, _, revision = headers["Flagstone-Revision"].rpartition(":")
    ahead = f"{FLAGS}?flagConfigEtag={place}:{int(revision) + 1}"

    # PostgreSQL stops with the instance that embeds it, some time before the instance ends.
    assert await owner.stop() == 0
    at_once = await evaluate(client, instance)
    one = await evaluate(client, instance, f"{FLAGS}/new-checkout")
    unchanged = await evaluate(client, instance, headers=tag)
    told_of_more = await evaluate(client, instance, ahead)
    answers = [at_once, one]

    async def is_stale() -> bool:
        answers.append(await evaluate(client, instance))
        return "Flagstone-Stale" in answers[-1][2]

    await until(is_stale)
    still_unchanged = await evaluate(client, instance, headers=tag)
    assert await instance.stop() == 0
    await instance.start()

    async def is_served() -> bool:
        return (await evaluate(client, instance))[0] == 200

    await until(is_served)
    restarted = await evaluate(client, instance)
    unchanged_after_restart = await evaluate(client, instance, headers=tag)

    assert {status for status, _, _ in answers} == {200}
    assert (at_once[1], restarted[1]) == (before, before)
    assert one[1]["value"] is True
    assert {answer[0] for answer in (unchanged, still_unchanged, unchanged_after_restart)} == {304}
    assert (told_of_more[0], told_of_more[2]["Retry-After"]) == (503, "1")
    assert int(answers[-1][2]["Flagstone-Stale"]) >= STALE_AFTER_SECONDS
    assert "Flagstone-Stale" in still_unchanged[2]
    assert await instance.stop() == 0
