"""Choose a writer's next request from its last read: pure, and repeatable by seed."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.process.history.records import Entry, Read, RequestedChange

# Few of both, so that writers conflict.
ENVIRONMENTS = ("development", "local", "staging")
# Written by proposals only.
PROTECTED = "production"
# Its flags have plans.
PLANNED = "launch"
FOLLOWED = (*ENVIRONMENTS, PROTECTED, PLANNED)
KEYS = tuple(f"{place}/{n}" for place in ("mail", "shop") for n in range(6))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A request and its intended changes by environment."""

    method: str
    path: str
    environments: tuple[str, ...]
    requested: tuple[RequestedChange, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


def make_wish(chance: random.Random, name: str, known: Mapping[str, Read]) -> Wish:
    """Return a request for the first of the known environments."""
    environment = next(iter(known))
    key = chance.choice(KEYS)
    entry = known[environment].entries.get(key)
    makers: list[tuple[int, Callable[[], Wish]]] = [
        (10, lambda: _write(name, environment, key, entry)),
        (3, lambda: _delete(name, environment, key, entry)),
        (5, lambda: _change_set(chance, name, known)),
        (2, lambda: _return(chance, name, known[environment], "revert")),
        (1, lambda: _return(chance, name, known[environment], "restore")),
        (1, lambda: _promote(chance, name, known)),
        (2, lambda: _describe(chance, name, environment)),
    ]
    ((_, make),) = chance.choices(makers, [weight for weight, _ in makers])
    return make()


def make_single_write(chance: random.Random, name: str, known: Mapping[str, Read]) -> Wish:
    """Return a write of one entry of the first of the known environments."""
    environment = next(iter(known))
    key = chance.choice(KEYS)
    return _write(name, environment, key, known[environment].entries.get(key))


def put(
    name: str, environment: str, key: str, entry: Entry | None, *, value: Any, kind: str
) -> Wish:
    condition = {"If-Match": f'"{entry.version}"'} if entry else {"If-None-Match": "*"}
    return Wish(
        method="PUT",
        path=f"/v1/environments/{environment}/configurations/{key}",
        environments=(environment,),
        requested=(_requested(environment, key, entry, value),),
        headers=condition,
        body={"kind": kind, "value": value, "message": name},
    )


def _write(name: str, environment: str, key: str, entry: Entry | None) -> Wish:
    return put(name, environment, key, entry, value=name, kind="setting")


def _delete(name: str, environment: str, key: str, entry: Entry | None) -> Wish:
    if entry is None:
        return _write(name, environment, key, entry)
    return Wish(
        method="DELETE",
        path=f"/v1/environments/{environment}/configurations/{key}",
        environments=(environment,),
        requested=(_requested(environment, key, entry, None),),
        headers={"If-Match": f'"{entry.version}"'},
    )


def _change_set(chance: random.Random, name: str, known: Mapping[str, Read]) -> Wish:
    wishes = [
        _requested(
            environment, key, entry, None if entry and chance.random() < 0.3 else [name, position]
        )
        for environment, read in known.items()
        for position, key in enumerate(chance.sample(KEYS, chance.randrange(1, 5)))
        for entry in [read.entries.get(key)]
    ]
    return Wish(
        method="POST",
        path=f"/v1/environments/{wishes[0].environment}/changes",
        environments=tuple(known),
        requested=tuple(wishes),
        body={"message": name, "operations": [_operation(wish) for wish in wishes]},
    )


def _return(chance: random.Random, name: str, read: Read, how: str) -> Wish:
    """Restore or revert one of the last few revisions."""
    revision = max(1, read.revision - chance.randrange(4))
    place = f"/v1/environments/{read.environment}"
    reverts = how == "revert"
    return Wish(
        method="POST",
        path=f"{place}/changes/{revision}/revert" if reverts else f"{place}/restore",
        environments=(read.environment,),
        body={"message": name} if reverts else {"message": name, "revision": revision},
    )


def _promote(chance: random.Random, name: str, known: Mapping[str, Read]) -> Wish:
    target, *others = known
    source = chance.choice(
        others or [environment for environment in ENVIRONMENTS if environment != target]
    )
    return Wish(
        method="POST",
        path=f"/v1/environments/{target}/promote",
        environments=(target,),
        body={"from": source, "keys": chance.sample(KEYS, 3), "message": name},
    )


def _describe(chance: random.Random, name: str, environment: str) -> Wish:
    member, value = chance.choice(("owner", "team")), chance.choice((name, name, None))
    return Wish(
        method="PATCH",
        path=f"/v1/environments/{environment}",
        environments=(environment,),
        headers={"If-Match": "*"},
        body={"metadata": {member: value}, "message": name},
    )


def _requested(environment: str, key: str, entry: Entry | None, value: object) -> RequestedChange:
    version = entry.version if entry else 0
    return RequestedChange(environment=environment, key=key, version=version, value=value)


def _operation(wish: RequestedChange) -> dict[str, Any]:
    operation = {"environment": wish.environment, "key": wish.key, "version": wish.version}
    if wish.value is None:
        return {"op": "delete", **operation}
    return {"op": "put", "value": wish.value, **operation}
