"""Wait until all replicas agree after the faults, then read the final state."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

import msgspec

from app.configuration.changes.views import (
    ChangeSetPage,
    ChangeSetView,
    EntryView,
    PropertiesChangeView,
)
from app.environments.models import Environment
from tests.process.history.cluster import AWAY, Admin
from tests.process.history.readers import Listener
from tests.process.history.records import (
    Approval,
    Change,
    ChangeSet,
    Ending,
    Entry,
    Final,
    FinalProposal,
    ProposalEvent,
    ProposedChange,
    Served,
)
from tests.process.history.traffic import Traffic, served_by
from tests.process.history.wishes import FOLLOWED
from tests.waiting import HANG_SECONDS

AGREE_SECONDS = HANG_SECONDS
_PAUSE_SECONDS = 0.25
# A request frozen by a fault may still arrive, so one quiet check is not enough.
_QUIET_LOOKS = 3
_NOTHING = Served("", -1, "")

_HISTORY = """
select
    change_sets.revision,
    change_sets.message,
    change_sets.kind,
    extract(epoch from change_sets.created_at)::float8 as at,
    change_sets.approval,
    changes.key,
    changes.before_version,
    changes.before_value,
    changes.after_version,
    changes.after_value
from flagstone.change_sets
left join flagstone.changes using (environment, revision)
where environment = $1
order by revision, key
"""
_PROPERTIES = """
select revision, version, before_metadata, after_metadata
from flagstone.property_changes
where environment = $1
"""
_ENTRIES = "select key, version, value from flagstone.configurations where environment = $1"
_PROPOSALS = """
select
    id,
    state,
    version,
    author,
    operations,
    extract(epoch from apply_at)::float8 as apply_at,
    expires_after_seconds,
    reason,
    applied
from flagstone.proposals
order by id
"""
_EVENTS = "select proposal_id, event, actor, version from flagstone.proposal_events order by id"
_SCHEDULED = """
select
    (select count(*) from flagstone.proposals where state = 'scheduled')
    + (select count(*) from flagstone.plan_steps where revision is null)
"""
_HEAD = (
    "select revision, epoch::text, version, metadata from flagstone.environments where name = $1"
)


async def agree(
    traffic: Traffic, listeners: Sequence[Listener], environments: Sequence[str] = FOLLOWED
) -> float:
    """Wait until nothing is scheduled, and replicas and streams stay at the same revision.

    Returns the seconds that it took. That they do not is for the checker to say.
    """
    started = time.monotonic()
    quiet, last = 0, None
    while quiet < _QUIET_LOOKS and time.monotonic() < started + AGREE_SECONDS:
        is_calm = await _is_nothing_scheduled(traffic)
        look = {name: await _served(traffic, name) for name in environments}
        agreed = all(_is_one(served, _stands(listeners, name)) for name, served in look.items())
        quiet = quiet + 1 if is_calm and agreed and look == last else 0
        last = look
        await asyncio.sleep(_PAUSE_SECONDS)
    return time.monotonic() - started


async def _is_nothing_scheduled(traffic: Traffic) -> bool:
    with suppress(*AWAY):
        async with traffic.cluster.admin() as connection:
            return bool(await connection.fetchval(_SCHEDULED) == 0)
    return False


def _is_one(served: Mapping[str, Served], stands: Mapping[str, int]) -> bool:
    first, *others = served.values()
    revisions = {first.revision, *stands.values()}
    return first != _NOTHING and all(other == first for other in others) and len(revisions) == 1


def _stands(listeners: Iterable[Listener], environment: str) -> dict[str, int]:
    return {
        listener.name: listener.revision
        for listener in listeners
        if listener.environment == environment
    }


async def read_endings(
    traffic: Traffic, listeners: Sequence[Listener], environments: Sequence[str] = FOLLOWED
) -> list[Ending]:
    """Read each environment from the database, over HTTP, and from each replica, then proposals."""
    async with (
        traffic.cluster.admin() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=str, decoder=msgspec.json.decode
        )
        finals = [
            await _final(traffic, connection, name, _stands(listeners, name))
            for name in environments
        ]
        return [*finals, *await _proposals(connection)]


async def _proposals(connection: Admin) -> list[FinalProposal]:
    events = defaultdict(list)
    for row in await connection.fetch(_EVENTS):
        events[row["proposal_id"]].append(ProposalEvent(row["event"], row["actor"], row["version"]))
    return [
        FinalProposal(
            **{name: row[name] for name in row.keys() if name != "operations"},  # noqa: SIM118
            operations=tuple(
                ProposedChange(item["key"], item["version"], item.get("value"))
                for item in row["operations"]
            ),
            events=tuple(events[row["id"]]),
        )
        for row in await connection.fetch(_PROPOSALS)
    ]


async def _final(
    traffic: Traffic, connection: Admin, environment: str, streams: Mapping[str, int]
) -> Final:
    head = await connection.fetchrow(_HEAD, environment)
    assert head is not None
    rows = await connection.fetch(_HISTORY, environment)
    described = await connection.fetch(_PROPERTIES, environment)
    entries = await connection.fetch(_ENTRIES, environment)
    return Final(
        environment=environment,
        epoch=head["epoch"],
        revision=head["revision"],
        change_sets=tuple(_change_sets(rows, described)),
        entries={row["key"]: Entry(row["version"], row["value"]) for row in entries},
        properties=Entry(head["version"], head["metadata"]),
        reported=await _reported(traffic, environment),
        served=await _served(traffic, environment),
        streams=streams,
    )


def _change_sets(rows: Iterable[Any], described: Iterable[Any]) -> Iterator[ChangeSet]:
    properties = {
        row["revision"]: Change(
            "",
            Entry(row["version"] - 1, row["before_metadata"]),
            Entry(row["version"], row["after_metadata"]),
        )
        for row in described
    }
    for _, several in groupby(rows, lambda row: row["revision"]):
        first, *others = several
        changes = (
            Change(row["key"], _entry(row, "before"), _entry(row, "after"))
            for row in (first, *others)
            if row["key"] is not None
        )
        stored = first["approval"]
        yield ChangeSet(
            first["revision"],
            first["message"],
            tuple(changes),
            properties.get(first["revision"]),
            first["kind"],
            first["at"],
            None if stored is None else _approval(stored["proposal"], stored["approvers"]),
        )


def _entry(row: Any, side: str) -> Entry | None:
    version = row[f"{side}_version"]
    return None if version is None else Entry(version, row[f"{side}_value"])


async def _reported(traffic: Traffic, environment: str) -> tuple[ChangeSet, ...]:
    """Return the history as HTTP gives it, page by page, the latest first."""
    change_sets: list[ChangeSet] = []
    before = ""
    while True:
        path = f"/v1/environments/{environment}/changes?limit=500{before}"
        # Shortly after faults a replica may answer 503.
        answer, _ = await traffic.ask(traffic.cluster.replicas[0], "GET", path)
        for _ in range(10):
            if answer.status not in {0, 503}:
                break
            await asyncio.sleep(0.5)
            answer, _ = await traffic.ask(traffic.cluster.replicas[0], "GET", path)
        assert answer.status == 200, answer
        page = msgspec.json.decode(answer.body, type=ChangeSetPage)
        change_sets += map(_reported_change_set, page.items)
        if page.next is None:
            return tuple(reversed(change_sets))
        before = f"&before={page.next}"


def _reported_change_set(item: ChangeSetView) -> ChangeSet:
    changes = sorted(item.changes, key=lambda change: change.key)
    return ChangeSet(
        item.revision,
        item.message,
        tuple(Change(change.key, _seen(change.before), _seen(change.after)) for change in changes),
        described(item.properties),
        item.kind,
        item.created_at.timestamp(),
        None
        if item.approval is None
        else _approval(item.approval.proposal, item.approval.approvers),
    )


def _approval(proposal: str | None, approvers: Iterable[str]) -> Approval:
    return Approval(int(proposal or 0), tuple(approvers))


def described(view: PropertiesChangeView | None) -> Change | None:
    """Return an environment's properties as a change of the empty key."""
    if view is None:
        return None
    before, after = (
        Entry(view_properties.version, view_properties.metadata)
        for view_properties in (view.before, view.after)
    )
    return Change("", before, after)


def _seen(view: EntryView | None) -> Entry | None:
    return None if view is None else Entry(view.version, view.value)


async def _served(traffic: Traffic, environment: str) -> dict[str, Served]:
    """Return the snapshot that each replica serves."""
    revisions = {}
    for replica in traffic.cluster.replicas:
        path = f"/v1/environments/{environment}/configurations?limit=500"
        answer, _ = await traffic.ask(replica, "GET", path)
        environment_view, _ = await traffic.ask(replica, "GET", f"/v1/environments/{environment}")
        if answer.status == environment_view.status == 200:
            head = msgspec.json.decode(environment_view.body, type=Environment)
            served = served_by(answer)
            revisions[replica.name] = msgspec.structs.replace(
                served, properties=Entry(head.version, head.metadata)
            )
        else:
            revisions[replica.name] = _NOTHING
    return revisions
