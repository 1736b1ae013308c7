"""The stream of refetchEvaluation events. Cn is a line of OFREP's checklist."""

import asyncio
import time

import pytest
from yarl import URL

from app.configuration.snapshots.event_stream import wake_streams
from app.configuration.snapshots.reading import FOLLOWER
from app.http.keys import LIFECYCLE
from tests.api.flags.ofrep.conftest import BY_PLAN, FLAGS, SHOP, SWITCH, Client
from tests.api.flags.ofrep.listening import listening
from tests.conftest import Server, Service
from tests.waiting import HANG_SECONDS


def _place(service: Service) -> str:
    snapshot = service.app[FOLLOWER].get("local")
    return f"{snapshot.epoch}:{snapshot.revision}"


async def test_c30_c31_all_flags_name_one_stream_by_an_absolute_url(ofrep: Client) -> None:
    streams = (await ofrep.all()).body["eventStreams"]

    assert [set(stream) for stream in streams] == [{"type", "url", "inactivityDelaySec"}]
    assert streams[0]["type"] == "sse"
    assert streams[0]["url"].startswith(f"{ofrep.service.url}/ofrep/v1/streams/")
    assert streams[0]["inactivityDelaySec"] == 120
    assert "eventStreams" not in (await ofrep.one("nothing")).body


async def test_c31_stream_url_behind_a_proxy_is_the_public_one(shop: Client) -> None:
    answer = await shop.all(headers={"Host": "inside:8080", "X-Forwarded-Host": "evil.example"})

    assert str(answer.stream).startswith("https://flags.example/base/ofrep/v1/streams/")


@pytest.mark.parametrize(
    "host", [b"\xff", b"gr\xc3\xbc\xc3\x9fe", b"a b", b'"', b"x:nonsense", b""]
)
async def test_c31_any_host_header_is_accepted(ofrep: Client, host: bytes) -> None:
    reader, writer = await asyncio.open_connection(*ofrep.address)
    writer.write(ofrep.head(FLAGS).replace(b"Host: x", b"Host: " + host))

    received = await reader.read()

    writer.close()
    assert received[9:12] in {b"200", b"400"}


async def test_c32_c42_a_stream_opens_by_its_url_alone_for_any_page(ofrep: Client) -> None:
    async with listening(ofrep, headers={"Origin": SHOP}) as stream:
        headers = stream.answer.headers

    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers.getall("Access-Control-Allow-Origin") == ["*"]
    assert "Content-Encoding" not in headers


async def test_c42_stream_allows_listed_origins_only(shop: Client) -> None:
    ticket = (await shop.all()).stream.name
    url = URL(f"{shop.service.url}/ofrep/v1/streams/{ticket}")

    async with (
        listening(shop, url, headers={"Origin": SHOP}) as listed,
        listening(shop, url, headers={"Origin": "https://evil.example"}) as other,
    ):
        allowed = [
            stream.answer.headers.get("Access-Control-Allow-Origin") for stream in (listed, other)
        ]

    assert allowed == [SHOP, None]


async def test_head_request_gets_headers_without_a_stream(ofrep: Client) -> None:
    url = (await ofrep.all()).stream

    async with ofrep.session.head(url) as head:
        pass
    async with ofrep.session.head(url) as next_on_the_connection:
        pass

    assert (head.status, head.content_type) == (200, "text/event-stream")
    assert next_on_the_connection.status == 200


async def test_c33_c34_rule_changes_are_sent_once_settings_never(
    ofrep: Client,
) -> None:
    before = int(time.time())
    async with listening(ofrep) as stream:
        first = await stream.next()
        await ofrep.put("a-setting", 1, kind="setting")
        silent = await stream.is_silent()
        await ofrep.put("plan", SWITCH)
        second = await stream.next()
        await ofrep.put("a-segment", {"var": "plan"}, kind="segment")
        third = await stream.next()
        await ofrep.put("plan", BY_PLAN, version=1)
        fourth = await stream.next()
        silent_again = await stream.is_silent()

    epoch = ofrep.service.app[FOLLOWER].get("local").epoch
    messages = (first, second, third, fourth)
    assert [message.id for message in messages] == [f"{epoch}:{n}" for n in (0, 2, 3, 4)]
    assert silent
    assert silent_again
    for message in messages:
        assert set(message.data) == {"type", "etag", "lastModified"}
        assert message.data["type"] == "refetchEvaluation"
        assert message.data["etag"] == message.id
        assert before <= message.data["lastModified"] <= time.time()


async def test_c33_change_of_environment_properties_is_sent(ofrep: Client, server: Server) -> None:
    async with listening(ofrep) as stream:
        first = await stream.next()
        with server.admin("suite") as connection:
            connection.execute(
                "update flagstone.environments set epoch = gen_random_uuid() where name = 'local'"
            )
        await ofrep.service.app[FOLLOWER].refresh()
        second = await stream.next()

    assert first.id.partition(":")[0] != second.id.partition(":")[0]


async def test_c33_change_of_another_environment_is_not_sent(ofrep: Client) -> None:
    async with listening(ofrep) as stream:
        await stream.next()
        await ofrep.service.client.put(
            "/v1/environments/staging/configurations/plan",
            json={"value": SWITCH, "kind": "flag"},
            headers={"If-None-Match": "*"},
        )

        assert await stream.is_silent()


@pytest.mark.slow
@pytest.mark.parametrize("last", [None, "", "{epoch}:0", "another:1", "nonsense", "{epoch}:99"])
async def test_c35_client_that_may_have_missed_a_change_is_notified(
    ofrep: Client, last: str | None
) -> None:
    await ofrep.put("plan", SWITCH)
    epoch = ofrep.service.app[FOLLOWER].get("local").epoch
    headers = {} if last is None else {"Last-Event-ID": last.format(epoch=epoch)}

    async with listening(ofrep, headers=headers) as stream:
        message = await stream.next()
        silent = await stream.is_silent()

    assert (message.id, silent) == (f"{epoch}:1", True)


async def test_c35_current_client_gets_no_event_before_a_change(
    ofrep: Client,
) -> None:
    await ofrep.put("plan", SWITCH)

    async with listening(ofrep, headers={"Last-Event-ID": _place(ofrep.service)}) as stream:
        silent = await stream.is_silent()
        await ofrep.put("plan", BY_PLAN, version=1)
        message = await stream.next()

    assert (silent, message.id) == (True, _place(ofrep.service))


async def test_c36_revision_announced_by_one_instance_works_on_others(
    ofrep: Client, replica: Client
) -> None:
    async with listening(ofrep) as stream:
        await stream.next()
        for version in range(10):
            await ofrep.put("plan", SWITCH if version % 2 else BY_PLAN, version=version)
            event = await stream.next()

            answer = await replica.all(query=f"?flagConfigEtag={event.data['etag']}")

            assert answer.headers["Flagstone-Revision"] == event.id
            assert answer.flags["plan"]["value"] is bool(version % 2)


async def test_c39_quiet_stream_sends_keep_alive_comments(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.configuration.snapshots.event_stream.PING_SECONDS", 0.05)

    async with listening(ofrep) as stream:
        await stream.next()
        async with asyncio.timeout(HANG_SECONDS):
            lines = [await stream.answer.content.readuntil(b"\n") for _ in range(6)]

    assert any(line.startswith(b": ping") for line in lines)
    assert not any(line.startswith(b"data") for line in lines)


async def test_c39_streams_end_as_soon_as_the_service_drains(shop: Client) -> None:
    ticket = (await shop.all()).stream.name
    url = URL(f"{shop.service.url}/ofrep/v1/streams/{ticket}")

    async with listening(shop, url) as stream:
        await stream.next()
        shop.service.app[LIFECYCLE].draining.set()
        await wake_streams(shop.service.app)
        await stream.end()


TURN = 2_000_000_000
LATER = SWITCH | {"targeting": {"if": [{">": [{"var": "$flagd.timestamp"}, TURN]}, "on", "off"]}}
AT_ANY_TIME = SWITCH | {"targeting": {"if": [{"%": [{"var": "$flagd.timestamp"}, 2]}, "on"]}}


async def test_stream_wakes_once_when_a_flag_turns(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ofrep.put("later", LATER)
    before = await ofrep.all()
    async with listening(ofrep, before.stream) as stream:
        first = await stream.next()
        monkeypatch.setattr("app.flags.ofrep.streams.time.time", lambda: TURN + 2.5)
        second = await stream.next()
        silent = await stream.is_silent()
    known = {"If-None-Match": before.etag}
    after = await ofrep.all(query=f"?flagConfigEtag={second.data['etag']}", headers=known)

    assert second.id == f"{first.id}:{TURN + 1}"
    assert second.data["etag"] == first.data["etag"] == first.id
    assert silent
    assert (before.flags["later"]["value"], after.flags["later"]["value"]) == (False, True)
    assert after.status == 200


@pytest.mark.parametrize("is_missed", [False, True])
async def test_client_that_returns_after_a_clock_turn_is_notified(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch, *, is_missed: bool
) -> None:
    await ofrep.put("later", LATER)
    place = _place(ofrep.service)
    monkeypatch.setattr("app.flags.ofrep.streams.time.time", lambda: TURN + 2.5)
    last = {"Last-Event-ID": place if is_missed else f"{place}:{TURN + 1}"}

    async with listening(ofrep, headers=last) as stream:
        if is_missed:
            assert (await stream.next()).id == f"{place}:{TURN + 1}"
        assert await stream.is_silent()


async def test_stream_ticks_while_a_flag_may_turn_at_any_time(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.flags.ofrep.streams.TICK_SECONDS", 0)
    await ofrep.put("plain", LATER)
    async with listening(ofrep, headers={"Last-Event-ID": _place(ofrep.service)}) as stream:
        silent = await stream.is_silent()
        await ofrep.put("clock", AT_ANY_TIME)
        changed = await stream.next()
        # A clock that is set back changes nothing.
        monkeypatch.setattr("app.flags.ofrep.streams.time.time", lambda: TURN / 2)
        ticked = await stream.next()

    assert silent
    assert changed.id == ticked.id == _place(ofrep.service)
