"""Answers are never older than the event that a client names. Cn is a line of OFREP's checklist."""

import asyncio
from uuid import uuid4

import pytest

from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.reading import FOLLOWER
from app.http.keys import DATABASE
from tests.api.flags.ofrep.conftest import BY_PLAN, SWITCH, Client
from tests.conftest import Server, Service


async def _write_elsewhere(service: Service) -> str:
    """Change a flag without notifying the follower, and return the `etag` of the change."""
    before = service.app[FOLLOWER].get("local")
    content = Content(kind=Kind.FLAG, value=BY_PLAN)
    operation = Operation(key="plan", content=content, expected=None)
    await service.app[DATABASE].transact(
        lambda c: changes.apply(c, "local", [operation], actor="test", authority=OPERATOR_AUTHORITY)
    )
    return f"{before.epoch}:{before.revision + 1}"


@pytest.mark.parametrize(
    "query",
    [
        "?flagConfigEtag=nonsense",
        "?flagConfigEtag=",
        "?flagConfigEtag=%FF%00",
        "?flagConfigEtag=another-epoch:5",
        "?flagConfigEtag=:99",
        "?flagConfigEtag={epoch}:-1",
        "?flagConfigEtag={epoch}:1.5",
        "?flagConfigEtag={epoch}:99999999999999999999999",
        "?flagConfigEtag={epoch}:%D9%A3",
        "?flagConfigLastModified=1771622898",
        "?flagConfigLastModified=2026-02-20T21:28:18Z",
        "?flagConfigLastModified=nonsense",
        "?flagConfigEtag={epoch}:1&flagConfigLastModified=5&other=1&other=2",
        "?",
        "?&&=",
    ],
)
async def test_c29_the_hints_are_taken_and_never_refused(ofrep: Client, query: str) -> None:
    await ofrep.put("plan", SWITCH)
    epoch = ofrep.service.app[FOLLOWER].get("local").epoch

    every = await ofrep.all(query=query.format(epoch=epoch))
    one = await ofrep.one("plan" + query.format(epoch=epoch))

    assert (every.status, one.status) == (200, 200)


async def test_c29_the_hints_are_no_conditions(ofrep: Client) -> None:
    await ofrep.put("plan", SWITCH)
    first = await ofrep.all()

    answer = await ofrep.all(query=f"?flagConfigEtag={first.headers['Flagstone-Revision']}")

    assert (answer.status, answer.raw) == (200, first.raw)


@pytest.mark.parametrize("quote", ["", "%22"])
async def test_c36_an_instance_that_is_behind_catches_up_first(
    ofrep: Client, replica: Client, quote: str
) -> None:
    for _ in range(20):
        etag = await _write_elsewhere(ofrep.service)
        query = f"?flagConfigEtag={quote}{etag}{quote}"

        answers = await asyncio.gather(
            ofrep.all(query=query), replica.all(query=query), replica.one(f"plan{query}")
        )

        assert [answer.status for answer in answers] == [200, 200, 200]
        assert {answer.headers["Flagstone-Revision"] for answer in answers} == {etag}


@pytest.mark.slow
async def test_c20_c36_instance_that_cannot_catch_up_is_503(
    ofrep: Client,
) -> None:
    snapshot = ofrep.service.app[FOLLOWER].get("local")

    answer = await ofrep.all(query=f"?flagConfigEtag={snapshot.epoch}:{snapshot.revision + 1}")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.body["errorCode"] == "GENERAL"


async def test_c36_unknown_epoch_is_looked_up_in_the_database(
    ofrep: Client, idle_follower: Follower
) -> None:
    """A backup was restored, and another instance detected it first."""
    written = await _write_elsewhere(ofrep.service)

    with ofrep.service.using(FOLLOWER, idle_follower):
        answer = await ofrep.all(query=f"?flagConfigEtag={uuid4()}:1")

    assert answer.headers["Flagstone-Revision"] == written


@pytest.mark.slow
async def test_unknown_epoch_database_locked_is_answered_as_stale(
    ofrep: Client, server: Server
) -> None:
    """All requests share one refresh, which fails, and are answered from memory."""
    await ofrep.put("plan", SWITCH)
    follower = ofrep.service.app[FOLLOWER]
    revision = follower.get("local").revision
    with server.admin("suite") as admin, admin.transaction():
        admin.execute("lock table flagstone.environments in access exclusive mode")
        answers = await asyncio.gather(
            *(ofrep.all(query=f"?flagConfigEtag={uuid4()}:1") for _ in range(8))
        )
    await follower.refresh()
    well = await ofrep.all()

    assert {answer.status for answer in answers} == {200}
    assert all(int(answer.headers["Flagstone-Stale"]) >= 1 for answer in answers)
    revisions = {answer.headers["Flagstone-Revision"].split(":")[1] for answer in answers}
    assert revisions == {str(revision)}
    assert "Flagstone-Stale" not in well.headers
