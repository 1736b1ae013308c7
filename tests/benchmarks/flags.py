"""Environments with flags for the measurements.

Every flag has a rule that reads the context, so no outcome is known in advance.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.database import Connection
from app.database.targets import open_database
from app.settings import load
from tests.benchmarks.connection import connected, require_good
from tests.benchmarks.processes import service

_AT_ONCE = 1_000
_RULES = 20
_COUNTRIES = ("CH", "FR", "DE", "US")
_STAFF = {"ends_with": [{"var": "email"}, "@example.com"]}
_STAFF_ON: Mapping[str, Any] = {"if": [_STAFF, "on"]}


def context(user: int) -> bytes:
    """Return the body of an evaluation for one user."""
    return msgspec.json.encode({"context": attributes(user)})


def attributes(user: int) -> dict[str, Any]:
    return {
        "targetingKey": f"user-{user}",
        "email": f"user-{user}@example.org",
        "country": _COUNTRIES[user % len(_COUNTRIES)],
        "plan": "pro",
        "age": 42,
    }


async def fill(folder: Path, environments: Mapping[str, Sequence[Operation]]) -> None:
    """Make environments of the local tier with these entries, in a new DATA_DIR."""
    with service(folder) as served:
        async with connected(served.port) as connection:
            for name in environments:
                body = msgspec.json.encode({"name": name, "tier": "local"})
                created = await connection.ask(
                    served.request("POST", "/v1/environments", body=body)
                )
                require_good(created)
        async with open_database(load({"DATA_DIR": str(folder)})) as database:
            for name, operations in environments.items():
                for start in range(0, len(operations), _AT_ONCE):
                    await database.transact(
                        partial(_write, name, operations[start : start + _AT_ONCE])
                    )


async def _write(environment: str, operations: Sequence[Operation], connection: Connection) -> None:
    await apply(connection, environment, operations, actor="bench", authority=OPERATOR_AUTHORITY)


def flags(count: int, rule: Callable[[int], Any]) -> list[Operation]:
    """Return flags with the rule that the function returns for their number."""
    return [_flag(number, rule(number)) for number in range(count)]


def condition(_: int) -> Any:
    """Return a condition on an attribute."""
    return {"if": [{"in": [{"var": "country"}, ["CH", "AT", "DE"]]}, "on", "off"]}


def half_splits(number: int) -> Any:
    """Return a condition or, for odd numbers, a condition and then a split."""
    split = {"fractional": [["on", 25], ["off", 75]]}
    return {"if": [_STAFF, "on", split]} if number % 2 else condition(number)


def twenty_unmet(number: int) -> Any:
    """Return a chain of 20 rules that no context meets."""
    branches = [
        part
        for rule in range(_RULES)
        for part in ({"==": [{"var": "plan"}, f"plan-{number}-{rule}"]}, "on")
    ]
    return {"if": [*branches, "off"]}


def definition(targeting: Any) -> dict[str, Any]:
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": targeting,
    }


def ramps(count: int) -> list[Operation]:
    """Return flags whose plans serve now what `ramped` flags serve."""
    steps = [
        {"at": f"{year}-12-01T09:00:00Z", "rollout": {"variant": "on", "percent": percent}}
        for year, percent in ((2020, 1), (2021, 10), (2022, 50), (2099, 100))
    ]
    value = {**definition(_STAFF_ON), "plan": {"name": "launch", "steps": steps}}
    return [_operation(number, value) for number in range(count)]


def ramped(_: int) -> Any:
    """Return a condition and then a split in halves."""
    return {"if": [*_STAFF_ON["if"], {"fractional": [["on", 50], ["off", 50]]}]}


def _flag(number: int, targeting: Any) -> Operation:
    return _operation(number, definition(targeting))


def _operation(number: int, value: Any) -> Operation:
    content = Content(kind=Kind.FLAG, value=value)
    return Operation(key=f"bench-{number}", content=content, expected=None)
