"""The event stream sends each change once, in order, across reconnections."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from app.access.models import Scope
from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.snapshots.loading import EVENTS_MAX
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import RECENT_MAX
from app.database import Connection
from app.http.keys import DATABASE
from tests.api.sse import Stream, streaming
from tests.conftest import Server, Service
from tests.waiting import HANG_SECONDS

LOCAL = "/v1/environments/local"
MANY = 3 * EVENTS_MAX
BATCH_MAX = 300


@asynccontextmanager
async def listening(
    service: Service, query: str = "", last: str | None = None, token: str | None = None
) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {token or service.admin_token}"}
    if last is not None:
        headers["Last-Event-ID"] = last
    url = f"{LOCAL}/events{query}"
    async with streaming(service.stranger, url, headers, "change", "resync") as stream:
        yield stream


async def _write(service: Service, key: str, message: str = "") -> int:
    answer = await service.client.put(
        f"{LOCAL}/configurations/{key}",
        json={"value": 1, "message": message},
        headers={"If-None-Match": "*"},
    )
    return int((await answer.json())["revision"])


async def test_stream_sends_each_change(service: Service) -> None:
    async with listening(service) as stream:
        await _write(service, "a", "why")
        message = await stream.next()

    epoch = service.app[FOLLOWER].get("local").epoch
    assert stream.answer.content_type == "text/event-stream"
    assert (message.id, message.name) == (f"{epoch}:1", "change")
    assert message.data["keys"] == ["a"]
    assert (message.data["message"], message.data["revision"]) == ("why", 1)
    assert message.data["actor"].startswith("token:")
    assert "value" not in message.data


async def test_head_request_gets_headers_without_a_stream(service: Service) -> None:
    head = await service.client.head(LOCAL + "/events")
    next_on_the_connection = await service.client.head(LOCAL)

    assert (head.status, head.content_type) == (200, "text/event-stream")
    assert head.headers["Flagstone-Revision"]
    assert next_on_the_connection.status == 200


async def test_prefix_narrows_the_keys(service: Service) -> None:
    async with listening(service, "?prefix=a/") as stream:
        await _write(service, "b")
        await service.client.post(
            LOCAL + "/changes",
            json={
                "operations": [
                    {"op": "put", "key": key, "value": 1, "version": 0} for key in ("a/1", "c")
                ]
            },
        )
        message = await stream.next()

    assert (message.data["revision"], message.data["keys"]) == (2, ["a/1"])


async def test_reconnecting_client_gets_missed_changes(service: Service) -> None:
    async with listening(service) as stream:
        await _write(service, "a")
        first = await stream.next()
    for key in ("b", "c"):
        await _write(service, key)

    async with listening(service, last=first.id) as stream:
        missed = [await stream.next(), await stream.next()]

    assert [message.data["keys"] for message in missed] == [["b"], ["c"]]


async def test_stream_reads_older_changes_from_the_history(service: Service) -> None:
    epoch = service.app[FOLLOWER].get("local").epoch
    for n in range(5):
        await _write(service, f"k{n}")
    snapshot = service.app[FOLLOWER].get("local")
    object.__setattr__(snapshot, "recent", snapshot.recent[-1:])

    async with listening(service, last=f"{epoch}:1") as stream:
        revisions = [(await stream.next()).data["revision"] for _ in range(4)]

    assert revisions == [2, 3, 4, 5]


@pytest.mark.parametrize("last", ["another-epoch:1"])
async def test_stream_of_another_epoch_sends_reset(service: Service, last: str) -> None:
    await _write(service, "a")
    epoch = service.app[FOLLOWER].get("local").epoch

    async with listening(service, last=last.format(epoch=epoch)) as stream:
        resync = await stream.next()
        await _write(service, "b")
        change = await stream.next()

    assert (resync.name, resync.data["revision"], resync.id) == ("resync", 1, f"{epoch}:1")
    assert (change.name, change.data["keys"]) == ("change", ["b"])


async def test_stream_too_far_behind_sends_reset(service: Service, server: Server) -> None:
    epoch = service.app[FOLLOWER].get("local").epoch
    with server.admin("suite") as connection:
        connection.execute("set search_path = flagstone")
        many = EVENTS_MAX + 10
        connection.execute(
            "insert into change_sets (environment, revision, kind, actor) "
            "select 'local', n, 'edit', 'many' from generate_series(1, %s) as n",
            [many],
        )
        connection.execute(
            "insert into changes (environment, revision, key, after_kind, after_version) "
            "select 'local', n, 'k', 'setting', n from generate_series(1, %s) as n",
            [many],
        )
        connection.execute("update environments set revision = %s where name = 'local'", [many])
    await service.app[FOLLOWER].refresh()

    async with listening(service, last=f"{epoch}:0") as stream:
        message = await stream.next()

    assert (message.name, message.data["revision"]) == ("resync", many)


async def test_invalid_last_event_id_is_refused(service: Service) -> None:
    answer = await service.client.get(LOCAL + "/events", headers={"Last-Event-ID": "nonsense"})

    assert answer.status == 400


@pytest.mark.slow
async def test_stream_resumed_ahead_of_instance_waits_for_it(
    service: Service,
) -> None:
    epoch = service.app[FOLLOWER].get("local").epoch

    answer = await service.client.get(LOCAL + "/events", headers={"Last-Event-ID": f"{epoch}:9"})

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_stream_sends_resume_id_first(
    service: Service,
) -> None:
    await _write(service, "a")
    async with listening(service, "?prefix=none/") as stream:
        first = await stream.answer.content.readuntil(b"\n")
        await _write(service, "b")
        line = b""
        async with asyncio.timeout(HANG_SECONDS):
            while not line.startswith(b"id: "):
                line = await stream.answer.content.readuntil(b"\n")

    epoch = service.app[FOLLOWER].get("local").epoch
    assert first == f"id: {epoch}:1\n".encode()
    assert line == f"id: {epoch}:2\n".encode()


def _handlers() -> set[asyncio.Task[object]]:
    """Return the running requests of this process. Those of earlier tests may still end."""
    return {
        task
        for task in asyncio.all_tasks()
        if "stream_events" in repr(task.get_coro()) or "_handle_request" in repr(task.get_coro())
    }


async def test_streams_of_clients_that_have_gone_end(service: Service) -> None:
    before = _handlers()
    for _ in range(20):
        async with listening(service) as stream:
            await stream.answer.content.readuntil(b"\n")
            stream.answer.close()

    async with asyncio.timeout(HANG_SECONDS):
        while len(_handlers() - before) > 1:  # noqa: ASYNC110 - aiohttp has no event for it
            await asyncio.sleep(0.05)


async def test_client_gone_before_stream_starts_is_no_error(service: Service) -> None:
    before = _handlers()
    ahead = f"{service.app[FOLLOWER].get('local').epoch}:1"

    with capture_logs() as logged:
        leaving = asyncio.ensure_future(listening(service, last=ahead).__aenter__())
        async with asyncio.timeout(HANG_SECONDS):
            while not _handlers() - before:  # noqa: ASYNC110 - aiohttp has no event for it
                await asyncio.sleep(0.02)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await _write(service, "a")
        async with asyncio.timeout(HANG_SECONDS):
            while _handlers() - before:  # noqa: ASYNC110 - aiohttp has no event for it
                await asyncio.sleep(0.02)

    assert [entry for entry in logged if entry["log_level"] == "error"] == []


async def test_new_epoch_is_sent_to_open_streams(service: Service, server: Server) -> None:
    async with listening(service) as stream:
        await _write(service, "a")
        before = await stream.next()
        with server.admin("suite") as connection:
            connection.execute("update flagstone.environments set epoch = gen_random_uuid()")
        await service.app[FOLLOWER].refresh()
        after = await stream.next()

    assert (before.name, after.name) == ("change", "resync")
    assert before.id.split(":")[0] != after.id.split(":")[0]


async def test_stream_of_a_revoked_token_ends(service: Service) -> None:
    token = await service.token(Scope.READ)

    async with listening(service, token=token) as stream:
        await service.revoke(token)
        async with asyncio.timeout(HANG_SECONDS):
            rest = await stream.answer.content.read()

    assert b"data:" not in rest


@pytest.mark.slow
async def test_random_reconnects_see_each_change_once_in_order(
    service: Service,
) -> None:
    chance = random.Random(7)  # noqa: S311 - a seed, so that a failure can be repeated
    total = RECENT_MAX + 100
    seen: list[int] = []

    async def listen() -> None:
        last = f"{service.app[FOLLOWER].get('local').epoch}:0"
        while len(seen) < total:
            async with listening(service, last=last) as stream:
                for _ in range(chance.randrange(1, 60)):
                    if len(seen) == total:
                        return
                    message = await stream.next()
                    assert message.name == "change"
                    seen.append(message.data["revision"])
                    last = message.id

    async with asyncio.timeout(HANG_SECONDS):
        listener = asyncio.create_task(listen())
        for n in range(total):
            await _write(service, f"k{n}")
        await listener

    assert seen == list(range(1, total + 1))


@pytest.mark.slow
async def test_reconnects_see_many_changes_once_in_order(
    service: Service,
) -> None:
    """The client reconnects at events that are in memory, and at much older ones.

    Each commit has many revisions, to save time.
    """
    chance = random.Random(3_000)  # noqa: S311 - a seed, so that a failure can be repeated
    follower = service.app[FOLLOWER]
    seen: list[int] = []
    caught_up = asyncio.Event()
    reconnections = 0

    async def listen() -> None:
        nonlocal reconnections
        last = f"{follower.get('local').epoch}:0"
        while len(seen) < MANY:
            reconnections += 1
            async with listening(service, last=last) as stream:
                for _ in range(chance.randrange(1, 400)):
                    message = await stream.next()
                    assert message.name == "change"
                    seen.append(message.data["revision"])
                    last = message.id
                    caught_up.set()
                    if len(seen) == MANY:
                        return

    async def commit(first: int, last: int) -> None:
        async def work(connection: Connection) -> None:
            for n in range(first, last + 1):
                key, content = f"k{n % 50}", Content(kind=Kind.SETTING, value=n)
                operation = Operation(key=key, content=content, expected=None)
                await changes.apply(
                    connection, "local", [operation], actor="many", authority=OPERATOR_AUTHORITY
                )

        await service.app[DATABASE].transact(work)
        follower.hint()

    written = 0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        while written < MANY:
            # Beyond EVENTS_MAX there is a resync, which another test covers.
            while written - len(seen) > EVENTS_MAX - BATCH_MAX:
                caught_up.clear()
                await caught_up.wait()
            size = min(chance.randrange(1, BATCH_MAX), MANY - written)
            await commit(written + 1, written + size)
            written += size

    assert seen == list(range(1, MANY + 1))
    assert reconnections > 8


async def test_many_listeners_all_hear_it(service: Service) -> None:
    async def hear(ready: asyncio.Event) -> int:
        async with listening(service) as stream:
            ready.set()
            return int((await stream.next()).data["revision"])

    readies = [asyncio.Event() for _ in range(80)]
    hearing = [asyncio.create_task(hear(ready)) for ready in readies]
    await asyncio.gather(*(ready.wait() for ready in readies))
    revision = await _write(service, "a")

    assert set(await asyncio.gather(*hearing)) == {revision}
