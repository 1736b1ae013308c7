"""Plain data for the templates of a flag: its head, its tabs, and the lists that inputs suggest."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.console.elsewhere import read_key
from app.console.flag.draft_reader import advanced_reason
from app.environments.models import Environment
from app.errors import NotFound
from app.flags.editing import serves_all
from app.flags.plan_words import PlanMark, plan_mark
from app.flags.summary import OWNER, TAGS, owner_of, tags_of, type_of
from app.flags.wording import in_force
from app.threads import in_thread

VIEWS = {
    "targeting": "Targeting",
    "plan": "Plan",
    "history": "History",
    "usage": "Usage",
    "use": "Use it",
    "dependencies": "Dependencies",
    "json": "JSON",
}
_ATTRIBUTE = re.compile(rb'"var":\[?"([^"\\]{1,120})"')
_ATTRIBUTES_MAX = 200
# More would make the page of a flag large.
_FLAGS_MAX = 500
_names: "WeakKeyDictionary[Snapshot, EditorNames]" = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class EditorNames:
    """The names that inputs suggest: attributes in the environment's flags, segments and flags."""

    attributes: tuple[str, ...]
    segments: tuple[str, ...]
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FlagTab:
    """A flag in one environment. `status` is empty where it does not exist."""

    environment: Environment
    status: str


@dataclass(frozen=True, kw_only=True)
class FlagHead:
    """The head of the page. `status` is that of `status_of`, `plan` says where the plan is."""

    key: str
    entry: Configuration
    status: str
    type: str
    owner: str
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    advanced: str | None
    plan: PlanMark | None

    @property
    def is_on(self) -> bool:
        return self.status == "On"

    @property
    def switch(self) -> str:
        """The action of the switch. A flag that is enabled may still serve off to all."""
        if self.is_on:
            return "Switch off"
        return "Enable" if self.status == "Disabled" else "Switch on"


def head_of(key: str, entry: Configuration) -> FlagHead:
    definition = in_force(definition_of(entry))
    metadata = definition.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    variants = definition.get("variants")
    return FlagHead(
        key=key,
        entry=entry,
        status=status_of(definition),
        type=(type_of(variants) if isinstance(variants, dict) else "") or "mixed",
        owner=owner_of(definition),
        tags=tags_of(definition),
        metadata={k: v for k, v in metadata.items() if k not in (OWNER, TAGS)},
        advanced=advanced_reason(entry.value),
        plan=plan_mark(definition_of(entry), int(time.time())),
    )


def definition_of(entry: Configuration) -> Mapping[str, Any]:
    """Return the definition of a flag. A lenient import may have stored any JSON."""
    return entry.value if isinstance(entry.value, dict) else {}


def status_of(definition: Any) -> str:
    """Return On, Off, Disabled, or "No rules" if all get one variant that is not a boolean."""
    match definition:
        case {"state": "ENABLED", "variants": dict(variants)}:
            served = serves_all(definition)
            if served is None:
                return "On"
            value = variants.get(served)
            return ("On" if value else "Off") if isinstance(value, bool) else "No rules"
        case _:
            return "Disabled"


async def tabs_of(
    request: web.Request, key: str, environments: tuple[Environment, ...]
) -> list[FlagTab]:
    """Return a tab for each environment. While the database is away, some may be missing."""
    entries = await read_key(request, key, environments)
    return [
        FlagTab(environment=environment, status=_status_in(entries[environment.name]))
        for environment in environments
        if environment.name in entries
    ]


def _status_in(entry: Configuration | None) -> str:
    return (
        status_of(in_force(definition_of(entry)))
        if entry is not None and entry.kind == "flag"
        else ""
    )


def flag_in(snapshot: Snapshot, key: str) -> Configuration | None:
    """Return the flag of a snapshot, None for another kind or no entry."""
    entry = snapshot.entries.get(key)
    return entry.configuration if entry is not None and entry.kind == "flag" else None


def require_flag(snapshot: Snapshot, key: str) -> Configuration:
    """Return the flag of a snapshot. Raises NotFound."""
    entry = flag_in(snapshot, key)
    if entry is None:
        name = snapshot.environment.name
        raise NotFound("flag_unknown", f"There is no flag {key} in {name}.")
    return entry


async def editor_names(snapshot: Snapshot) -> EditorNames:
    """Return the names that inputs suggest. They are computed once for each snapshot."""
    names = _names.get(snapshot)
    if names is None:
        names = _names[snapshot] = await in_thread("names", lambda: _find_names(snapshot))
    return names


def _find_names(snapshot: Snapshot) -> EditorNames:
    counts: dict[str, int] = {}
    for definition in snapshot.rules.definitions.values():
        for match in _ATTRIBUTE.finditer(definition):
            name = match[1].decode()
            counts[name] = counts.get(name, 0) + 1
    attributes = sorted(counts, key=lambda name: (-counts[name], name))[:_ATTRIBUTES_MAX]
    return EditorNames(
        attributes=tuple(sorted({*attributes, "targetingKey"})),
        segments=tuple(sorted(snapshot.rules.segments)),
        flags=tuple(islice(snapshot.rules.definitions, _FLAGS_MAX)),
    )
