"""The tab Dependencies: segments and flags that a flag uses, the flags that need it, and how it
differs in other environments.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from app.configuration.changes.references import names_in, reachable
from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.console.elsewhere import read_key
from app.console.flag.fragments import flag_part
from app.console.flag.views import require_flag
from app.console.rendering import frame
from app.console.state import read_state
from app.environments.models import Environment
from app.evaluation.needs import needs_of
from app.flags.change_words.definitions import describe_definition
from app.flags.change_words.sentences import Sentence, Tense, bounded, in_tense
from app.flags.segment_users import flags_using
from app.threads import in_thread

_USERS_SHOWN_MAX = 20
_SEGMENTS_MAX = 50


@dataclass(frozen=True, kw_only=True)
class UsedSegment:
    """A segment that a flag uses. `through` are the segments that name it, if the flag does not.

    The reader sees nothing but the key of a foreign one.
    """

    key: str
    exists: bool
    is_foreign: bool
    description: str
    through: Sequence[str]
    other_flags: Sequence[str]
    other_count: int


@dataclass(frozen=True, kw_only=True)
class NeededFlagRow:
    """A flag that this one needs, with the variants that it must give. `exists` is usual."""

    key: str
    exists: bool
    is_foreign: bool
    variants: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class EnvironmentDifference:
    """How the flag of another environment differs. `sentences` lead from there to here."""

    name: str
    tier: str
    exists: bool
    sentences: Sequence[Sentence]


async def get_dependencies(request: web.Request) -> web.Response:
    """Show the segments of a flag, the other flags that use them, and other environments."""
    state = await read_state(request)
    snapshot = state.snapshot
    entry = require_flag(snapshot, request.match_info["key"])
    segments = await in_thread("dependencies", lambda: list(_used_segments(snapshot, entry)))
    return flag_part(
        request,
        state,
        entry,
        "dependencies",
        "flag/dependencies.html",
        segments=segments,
        needed_flags=list(_needed_flags(snapshot, entry)),
        needing_flags=_needing_flags(snapshot, entry.key),
        # A past state is compared with nothing: the others are of now.
        differences=[] if state.moment else await _differences(request, entry),
    )


def _used_segments(snapshot: Snapshot, entry: Configuration) -> Iterator[UsedSegment]:
    rules = snapshot.rules
    targeting = entry.value.get("targeting") if isinstance(entry.value, dict) else None
    direct = set(names_in(targeting))
    graph = {key: set(names_in(segment)) for key, segment in rules.segments.items()}
    for name in sorted(reachable(direct, graph))[:_SEGMENTS_MAX]:
        users = [key for key in flags_using(rules, {name}) if key != entry.key]
        stored = snapshot.entries.get(name)
        yield UsedSegment(
            key=name,
            exists=name in rules.flag_set.segments,
            is_foreign=name not in snapshot.limits,
            description=(stored.configuration.description or "") if stored else "",
            through=[]
            if name in direct
            else sorted(k for k, used in graph.items() if name in used),
            other_flags=users[:_USERS_SHOWN_MAX],
            other_count=len(users),
        )


def _needed_flags(snapshot: Snapshot, entry: Configuration) -> Iterator[NeededFlagRow]:
    variants: defaultdict[str, set[str]] = defaultdict(set)
    for need in needs_of(entry.value):
        variants[need.flag] |= {need.variant} if need.variant is not None else set()
    for key, names in sorted(variants.items()):
        yield NeededFlagRow(
            key=key,
            exists=snapshot.rules.flag_set.flag_of(key) is not None,
            is_foreign=key not in snapshot.limits,
            variants=sorted(names),
        )


def _needing_flags(snapshot: Snapshot, key: str) -> list[str]:
    """Return the flags that need a flag, directly or through others."""
    return sorted(snapshot.rules.with_dependents({key}) - {key})


async def _differences(request: web.Request, entry: Configuration) -> list[EnvironmentDifference]:
    """Return the other environments, those of production first."""
    others = [item for item in frame(request).environments if item.name != entry.environment]
    others.sort(key=lambda item: item.tier != "production")
    entries = await read_key(request, entry.key, others)
    return await in_thread("differences", lambda: list(_compared(entry, others, entries)))


def _compared(
    entry: Configuration,
    others: Sequence[Environment],
    entries: Mapping[str, Configuration | None],
) -> Iterator[EnvironmentDifference]:
    for environment in others:
        if environment.name not in entries:
            continue
        other = entries[environment.name]
        other = other if other is not None and other.kind == "flag" else None
        sentences: Sequence[Any] = []
        if other is not None:
            described = bounded(describe_definition(other.value, entry.value))
            sentences = in_tense(described, Tense.PLANNED)
        yield EnvironmentDifference(
            name=environment.name,
            tier=environment.tier,
            exists=other is not None,
            sentences=sentences,
        )
