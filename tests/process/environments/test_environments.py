"""Replicas follow changes of environments."""

from collections.abc import Callable

from aiohttp import ClientSession

from tests.process.conftest import Process

LOCAL = "/v1/environments/local"


async def test_replica_serves_a_patch_and_a_new_environment(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    one, other = launch(), launch()
    for item in (one, other):
        await item.start()
        await item.ready()
    etags = []

    async def ask(**query: str) -> dict[str, object]:
        url = f"{other.url}{LOCAL}/ofrep/v1/evaluate/flags"
        async with client.post(url, json={}, headers=other.headers, params=query) as answer:
            etags.append(answer.headers["ETag"])
            result: dict[str, object] = await answer.json()
        return result

    async def make(method: str, path: str, body: object) -> str:
        headers = {**one.headers, "If-Match": "*"}
        async with client.request(method, one.url + path, json=body, headers=headers) as answer:
            assert answer.status in {200, 201}, await answer.text()
            return answer.headers["Flagstone-Revision"]

    before = await ask()
    moment = await make("PATCH", LOCAL, {"metadata": {"owner": "shop"}})
    after = await ask(flagConfigEtag=moment)
    await make("POST", "/v1/environments", {"name": "team-a", "tier": "staging"})

    # Without a pause, as a request with min_revision waits, even in a new environment.
    place = f"{other.url}/v1/environments/team-a"
    async with client.get(place, headers=other.headers, params={"min_revision": 1}) as answer:
        assert answer.status == 200

    assert (before["metadata"], after["metadata"]) == ({}, {"owner": "shop"})
    assert len(set(etags)) == 2
