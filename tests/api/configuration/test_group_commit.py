"""Writes of one environment that wait at the same moment share a transaction."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psycopg
import pytest
from aiohttp import ClientResponse

from app.audit.verification import Verified, verify
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.group_commit import GROUP_COMMIT, GroupCommit
from app.configuration.changes.models import ABSENT, Content, Kind, Operation
from app.errors import Unavailable
from app.http.keys import DATABASE
from tests.conftest import Server, Service
from tests.waiting import HANG_SECONDS, until

LOCAL = "/v1/environments/local"
NEW = {"If-None-Match": "*"}
_WAITS_FOR_LOCK = "datname = 'suite' and wait_event_type = 'Lock'"
_COUNT = f"select count(*) from pg_stat_activity where {_WAITS_FOR_LOCK}"  # noqa: S608
_KILL = f"select pg_terminate_backend(pid) from pg_stat_activity where {_WAITS_FOR_LOCK}"  # noqa: S608


async def _put(
    service: Service, key: str, headers: Mapping[str, str] = NEW, value: object = 1
) -> ClientResponse:
    body = value if isinstance(value, dict) and "kind" in value else {"value": value}
    return await service.client.put(
        f"{LOCAL}/configurations/{key}", json=body, headers=dict(headers)
    )


async def _write(group_commit: GroupCommit, key: str) -> int:
    operation = Operation(key=key, content=Content(kind=Kind.SETTING, value=1), expected=ABSENT)
    change_set = await group_commit.write(
        "local", operation, actor="test", message="", authority=OPERATOR_AUTHORITY
    )
    return change_set.revision


@asynccontextmanager
async def _locked(
    service: Service, server: Server
) -> AsyncIterator[psycopg.Connection[tuple[object, ...]]]:
    """Hold the lock of the environment, so that later writes wait, and write `first` meanwhile."""
    # The first connection would see the same pg_stat_activity for its whole transaction.
    with server.admin("suite") as locking, server.admin("suite") as connection:
        with locking.transaction():
            locking.execute("select 1 from flagstone.environments where name = 'local' for update")
            first = asyncio.create_task(_put(service, "first"))
            await _blocked(connection, 1)
            yield connection
        await first


async def _blocked(connection: psycopg.Connection[tuple[object, ...]], count: int) -> None:
    """Wait until so many transactions wait for the lock."""

    async def are_blocked() -> bool:
        return connection.execute(_COUNT).fetchone() == (count,)

    await until(are_blocked)


async def _all_wait(service: Service, count: int) -> None:
    """Wait until so many writes wait for a transaction."""

    async def do_wait() -> bool:
        group_commit = service.app[GROUP_COMMIT]
        assert group_commit is not None
        return len(group_commit.waiting["local"]) == count

    await until(do_wait)


def _transactions(server: Server) -> list[tuple[object, ...]]:
    with server.admin("suite") as connection:
        return connection.execute(
            "select min(revision), max(revision), count(distinct hash) "
            "from flagstone.change_sets where environment = 'local' "
            "group by created_at order by 1"
        ).fetchall()


async def test_waiting_writes_share_one_transaction(service: Service, server: Server) -> None:
    async with _locked(service, server):
        writes = [asyncio.create_task(_put(service, f"k{n}", value=n)) for n in range(9)]
        await _all_wait(service, 9)
    answers = [await (await write).json() for write in writes]

    assert sorted(answer["revision"] for answer in answers) == list(range(2, 11))
    assert _transactions(server) == [(1, 1, 1), (2, 10, 9)]
    for n, answer in enumerate(answers):
        read = await service.client.get(f"{LOCAL}/configurations/k{n}")
        assert ((await read.json())["value"], answer["key"]) == (n, f"k{n}")
    changes = await service.client.get(f"{LOCAL}/changes")
    assert [item["revision"] for item in (await changes.json())["items"]] == list(range(10, 0, -1))


async def test_chain_of_shared_transactions_is_verified(service: Service, server: Server) -> None:
    async with _locked(service, server):
        writes = [asyncio.create_task(_put(service, f"k{n}")) for n in range(5)]
        await _all_wait(service, 5)
    await asyncio.gather(*writes)

    async with service.app[DATABASE].connection() as connection:
        assert isinstance(await verify(connection, "local"), Verified)


async def test_refused_write_leaves_its_neighbours_alone(service: Service, server: Server) -> None:
    await _put(service, "old")
    flag = {"kind": "flag", "value": {"state": "ENABLED", "variants": {"on": True}}}
    async with _locked(service, server):
        requests = [
            _put(service, "old", {"If-Match": '"1"'}, 2),
            _put(service, "unknown", {"If-Match": '"1"'}),
            _put(service, "new"),
            _put(service, "flag", NEW, flag),
            _put(service, "other"),
        ]
        writes = [asyncio.create_task(request) for request in requests]
        await _all_wait(service, 5)
    answers = [await write for write in writes]

    assert [answer.status for answer in answers] == [200, 412, 201, 201, 201]
    bodies = [await answer.json(content_type=None) for answer in answers]
    assert bodies[1]["code"] == "version_stale"
    assert [body["revision"] for body in bodies if "revision" in body] == [3, 4, 5, 6]
    assert _transactions(server) == [(1, 1, 1), (2, 2, 1), (3, 6, 4)]


async def test_two_writes_of_a_key_take_two_transactions(service: Service, server: Server) -> None:
    async with _locked(service, server):
        writes = [asyncio.create_task(_put(service, "same", value=n)) for n in range(3)]
        await _all_wait(service, 3)
    statuses = [(await write).status for write in writes]

    assert statuses == [201, 412, 412]


async def test_write_that_the_database_refuses_fails_alone(
    service: Service, server: Server
) -> None:
    with server.admin("suite") as connection:
        connection.execute(
            "alter table flagstone.configurations "
            "add constraint no_poison check (key <> 'poison') not valid"
        )
        try:
            async with _locked(service, server):
                writes = [asyncio.create_task(_put(service, key)) for key in ("a", "poison", "b")]
                await _all_wait(service, 3)
            answers = [await write for write in writes]
        finally:
            connection.execute("alter table flagstone.configurations drop constraint no_poison")

    assert [answer.status for answer in answers] == [201, 500, 201]
    assert [(await answers[n].json())["revision"] for n in (0, 2)] == [2, 3]


async def test_lost_connection_answers_every_write_of_the_group(
    service: Service, server: Server
) -> None:
    async with _locked(service, server) as connection:
        writes = [asyncio.create_task(_put(service, f"k{n}")) for n in range(3)]
        await _all_wait(service, 3)
        connection.execute(_KILL)  # the transaction of `first`
        await _all_wait(service, 0)
        await _blocked(connection, 1)
        connection.execute(_KILL)
        answers = [await write for write in writes]

    for answer in answers:
        body = await answer.json(content_type=None)
        assert (answer.status, body["code"]) == (503, "database_away")
        assert "may have succeeded" in body["detail"]


async def test_write_that_waits_too_long_is_refused(service: Service, server: Server) -> None:
    group_commit = GroupCommit(service.app[DATABASE], wait_seconds=0.1)

    async with _locked(service, server) as connection:
        begun = asyncio.create_task(_write(group_commit, "begun"))
        await _blocked(connection, 2)
        with pytest.raises(Unavailable, match="busy with other changes"):
            await _write(group_commit, "late")

    assert await begun in {1, 2}


async def test_cancelled_write_that_waits_is_not_made(service: Service, server: Server) -> None:
    group_commit = GroupCommit(service.app[DATABASE], wait_seconds=HANG_SECONDS)

    async with _locked(service, server) as connection:
        begun = asyncio.create_task(_write(group_commit, "begun"))
        await _blocked(connection, 2)
        late = asyncio.create_task(_write(group_commit, "late"))
        other = asyncio.create_task(_write(group_commit, "other"))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.wait([late])
    await begun
    await other

    read = await service.client.get(f"{LOCAL}/configurations", params={"min_revision": "3"})
    keys = [item["key"] for item in (await read.json())["items"]]
    assert keys == ["begun", "first", "other"]
    assert not group_commit.tasks
    assert not group_commit.waiting


async def test_cancelled_task_ends_all_its_writes(service: Service, server: Server) -> None:
    group_commit = GroupCommit(service.app[DATABASE], wait_seconds=HANG_SECONDS)

    async with _locked(service, server) as connection:
        begun = asyncio.create_task(_write(group_commit, "begun"))
        await _blocked(connection, 2)
        late = asyncio.create_task(_write(group_commit, "late"))
        await asyncio.sleep(0)
        group_commit.tasks["local"].cancel()
        await asyncio.wait([begun, late], timeout=HANG_SECONDS)

        assert begun.cancelled()
        assert late.cancelled()


@pytest.mark.parametrize("kind", ["segment", "secret"])
async def test_segments_and_secrets_take_their_own_transactions(
    service: Service, server: Server, kind: str
) -> None:
    value = {"kind": kind, "value": {"==": [1, 1]} if kind == "segment" else "s3cret"}
    answers = await asyncio.gather(*(_put(service, f"k{n}", NEW, value) for n in range(4)))

    assert {answer.status for answer in answers} == {201}
    assert len(_transactions(server)) == 4


async def test_write_to_an_unknown_environment_is_404(service: Service) -> None:
    path = "/v1/environments/unknown/configurations/a"
    answers = await asyncio.gather(
        *(service.client.put(path, json={"value": 1}, headers=NEW) for _ in range(3))
    )

    assert [answer.status for answer in answers] == [404, 404, 404]
