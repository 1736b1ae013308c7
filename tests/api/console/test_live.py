from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import Scope
from tests.api.sse import Stream, streaming
from tests.conftest import Admin, Service
from tests.people import give, sign_in_person

LIVE = "/console/environments/local/live"


@asynccontextmanager
async def _live(service: Service, token: str, query: str = "") -> AsyncIterator[Stream]:
    async with (
        service.signed_in(token) as browser,
        streaming(browser, LIVE + query, {}, "change", "ended") as stream,
    ):
        yield stream


async def _put(service: Service, key: str) -> int:
    async with service.client.put(
        f"/v1/environments/local/configurations/{key}",
        json={"value": 1, "message": "Why not"},
        headers={"If-None-Match": "*"},
    ) as answer:
        assert answer.status == 201
        return int((await answer.json())["revision"])


async def test_live_page_hears_who_changed_what(service: Service) -> None:
    async with _live(service, service.admin_token) as stream:
        revision = await _put(service, "a")
        message = await stream.next()

    assert message.data["revision"] == revision
    assert message.data["actor"] == "local admin"
    assert message.data["message"] == "Why not"
    assert message.data["keys"] == ["a"]
    assert message.data["is_cut"] is False


async def test_live_page_of_an_old_revision_hears_all_since(service: Service) -> None:
    first = await _put(service, "a")
    await _put(service, "b")
    await _put(service, "c")

    async with _live(service, service.admin_token, f"?after={first}") as stream:
        message = await stream.next()

    assert message.data["keys"] == ["b", "c"]
    assert message.data["is_cut"] is False


async def test_live_page_of_another_history_shows_every_change(service: Service) -> None:
    await _put(service, "a")

    async with _live(service, service.admin_token, "?after=1000") as stream:
        message = await stream.next()

    assert message.data["is_cut"] is True


async def test_live_page_hears_the_end_of_its_session(service: Service) -> None:
    token = await service.token(Scope.READ)
    async with _live(service, token) as stream:
        await service.revoke(token)
        await service.app[TOKENS].refresh()
        message = await stream.next()
        await stream.end()

    assert message.name == "ended"


async def test_live_page_ends_with_the_last_grant_of_its_person(
    service: Service, cleaner: Admin
) -> None:
    asha = await sign_in_person(service, "asha")
    grant = await give(service, asha.person, "viewer")
    cookie = {"Cookie": f"flagstone={asha.text}"}
    async with streaming(service.stranger, LIVE, cookie, "change", "ended") as stream:
        path = f"/v1/grants/{grant.id}"
        async with service.client.delete(path, params={"reason": "Left."}) as answer:
            assert answer.status == 200, await answer.text()
        await stream.end()

    async with service.stranger.get(LIVE, headers=cookie, allow_redirects=False) as answer:
        assert answer.status == 403
        assert "You have no rights yet" in await answer.text()
    await service.app[ACCESS_LOG].run_once()
    rows = cleaner.execute(
        "select event, decision, detail from flagstone.access_log order by id desc limit 2"
    ).fetchall()
    assert rows == [
        ("authz_fail", "refused", "scope_missing"),
        ("authz_change", "allowed", "grant revoked: Left."),
    ]


async def test_live_page_of_a_stranger_is_sent_to_sign_in(service: Service) -> None:
    async with service.stranger.get(LIVE, allow_redirects=False) as answer:
        assert answer.status == 303
