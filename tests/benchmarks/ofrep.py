"""Measure evaluations per second, as a share of a bare handler that decodes the same body.

Every flag has a rule that reads the context, so no outcome is known in advance. The rule is one
condition on an attribute. In some environments half of the flags have a split after the condition.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import Progress

from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.database import Connection
from app.database.targets import open_database
from app.settings import load
from tests.benchmarks.cases import Case, fixed, shares
from tests.benchmarks.connection import connected, require_good
from tests.benchmarks.figures import Figure
from tests.benchmarks.floor import EVALUATE
from tests.benchmarks.processes import Server, Service, data_folder, floor, service

# By environment: the number of flags, and whether half of them are splits.
_SETS = {
    "local": (100, False),
    "development": (100, True),
    "staging": (1_000, False),
    "production": (1_000, True),
}
_BARE = "bare handler that decodes"
_ANSWER_BYTES = 200
_BODY = msgspec.json.encode(
    {
        "context": {
            "targetingKey": "user-4711",
            "email": "user@example.org",
            "country": "CH",
            "plan": "pro",
            "age": 42,
        }
    }
)


async def measure(progress: Progress) -> list[Figure]:
    """Measure one flag, all flags of two environments, and all that have not changed."""
    with data_folder() as folder, floor(_ANSWER_BYTES) as bare:
        with service(folder):
            await _fill(folder)
        with service(folder) as served:
            figures = await shares("ofrep", await _cases(served, bare), progress)
            one = figures[1].value
        with service(folder, WORKERS="2") as served:
            cases = await _cases(served, bare)
            both = {_BARE: cases[_BARE], "one flag, two workers": cases["one flag"]}
            figures += (await shares("ofrep", both, progress))[1:]
    gained = Figure(
        case="what a second worker adds",
        value=figures[-1].value / one - 1,
        unit="of one worker",
        at_least=0.7,
        detail="means something only where a core is free for it",
    )
    return [*figures, gained]


async def _cases(served: Service, bare: Server) -> Mapping[str, Case]:
    length = f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n"
    plain = f"POST {EVALUATE} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode() + _BODY
    async with connected(served.port) as connection:
        answer = await connection.ask(served.request("POST", _flags("local"), body=_BODY))
        require_good(answer)
    known = f"If-None-Match: {answer.header('ETag')}\r\n"

    def asked(path: str, at_least: float, headers: str = "") -> Case:
        request = served.request("POST", path, headers, _BODY)
        return fixed(served, request, _BARE, at_least)

    return {
        _BARE: fixed(bare, plain, _BARE),
        "one flag": asked(f"{_flags('development')}/bench-7", 0.65),
        "100 flags": asked(_flags("local"), 0.45),
        "100 flags, half splits": asked(_flags("development"), 0.45),
        "100 flags, 304": asked(_flags("local"), 0.70, known),
        "1,000 flags": asked(_flags("staging"), 0.15),
        "1,000 flags, half splits": asked(_flags("production"), 0.15),
    }


def _flags(environment: str) -> str:
    return f"/v1/environments/{environment}/ofrep/v1/evaluate/flags"


async def _fill(folder: Path) -> None:
    async with open_database(load({"DATA_DIR": str(folder)})) as database:
        for environment, (count, with_splits) in _SETS.items():
            operations = [_flag(number, with_splits=with_splits) for number in range(count)]
            await database.transact(partial(_write, environment, operations))


async def _write(environment: str, operations: list[Operation], connection: Connection) -> None:
    await apply(connection, environment, operations, actor="bench")


def _flag(number: int, *, with_splits: bool) -> Operation:
    """Return a flag with a typical rule."""
    condition: Any = {"if": [{"in": [{"var": "country"}, ["CH", "AT", "DE"]]}, "on", "off"]}
    split: Any = {
        "if": [
            {"ends_with": [{"var": "email"}, "@example.com"]},
            "on",
            {"fractional": [["on", 25], ["off", 75]]},
        ]
    }
    value = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": split if with_splits and number % 2 else condition,
    }
    content = Content(kind=Kind.FLAG, value=value)
    return Operation(key=f"bench-{number}", content=content, expected=None)
