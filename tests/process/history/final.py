"""Wait until all replicas agree after the faults, then read the final state."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from tests.process.history.cluster import Admin
from tests.process.history.readers import Listener
from tests.process.history.records import Change, ChangeSet, Entry, Final, Served
from tests.process.history.traffic import Traffic, served_by
from tests.process.history.wishes import ENVIRONMENTS

AGREE_SECONDS = 20.0
_PAUSE_SECONDS = 0.25
# A request frozen by a fault may still arrive, so one quiet check is not enough.
_QUIET_LOOKS = 3
_NOTHING = Served("", -1, "")

_HISTORY = """
select
    change_sets.revision,
    change_sets.message,
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
_HEAD = (
    "select revision, epoch::text, version, metadata from flagstone.environments where name = $1"
)


async def agree(traffic: Traffic, listeners: Sequence[Listener]) -> float:
    """Wait until replicas and streams reach the same revision and stay at it.

    Returns the seconds that it took. That they do not is for the checker to say.
    """
    started = time.monotonic()
    quiet, last = 0, None
    while quiet < _QUIET_LOOKS and time.monotonic() < started + AGREE_SECONDS:
        look = {name: await _served(traffic, name) for name in ENVIRONMENTS}
        agreed = all(_is_one(served, _stands(listeners, name)) for name, served in look.items())
        quiet = quiet + 1 if agreed and look == last else 0
        last = look
        await asyncio.sleep(_PAUSE_SECONDS)
    return time.monotonic() - started


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


async def read_finals(traffic: Traffic, listeners: Sequence[Listener]) -> list[Final]:
    """Read each environment from the database, over HTTP, and from each replica."""
    async with (
        traffic.cluster.admin() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=str, decoder=msgspec.json.decode
        )
        return [
            await _final(traffic, connection, name, _stands(listeners, name))
            for name in ENVIRONMENTS
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
    for (revision, message), several in groupby(rows, lambda row: (row[0], row[1])):
        changes = (
            Change(row["key"], _entry(row, "before"), _entry(row, "after"))
            for row in several
            if row["key"] is not None
        )
        yield ChangeSet(revision, message, tuple(changes), properties.get(revision))


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
    )


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
