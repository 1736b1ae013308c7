"""Measure evaluations over HTTP against a bare handler that decodes the same body."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
from rich.progress import Progress

from tests.benchmarks.cases import Case, measured, repeated
from tests.benchmarks.connection import connected, require_good
from tests.benchmarks.figures import PROCESSOR, Figure
from tests.benchmarks.flags import (
    condition,
    context,
    fill,
    flags,
    half_splits,
    ramped,
    ramps,
    twenty_unmet,
)
from tests.benchmarks.floor import EVALUATE
from tests.benchmarks.processes import Server, Service, data_folder, floor, service

_FLAGS = {
    "plain-100": flags(100, condition),
    "splits-100": flags(100, half_splits),
    "splits-1000": flags(1_000, half_splits),
    "splits-10000": flags(10_000, half_splits),
    "rules-20": flags(100, twenty_unmet),
    "ramped-100": flags(100, ramped),
    "plans-100": ramps(100),
}
_BARE = "bare handler that decodes"
_PLANS = "100 flags with plans"
_LIMITED = ", limited token"
_WITHOUT_PLANS = "100 flags that serve the same without plans"
_ANSWER_BYTES = 200
# Each request is for another user than the last, as from a server that evaluates for many.
_BODIES = [context(user) for user in range(500)]


async def measure(progress: Progress) -> list[Figure]:
    """Measure one flag, all flags of each environment, and all that have not changed."""
    with data_folder() as folder:
        await fill(folder, _FLAGS)
        with floor(_ANSWER_BYTES) as bare, service(folder) as served:
            figures = await measured("ofrep", await _cases(served, bare), progress)
    return [*figures, _cost_of_plans(figures), *_costs_of_limits(figures)]


async def _cases(served: Service, bare: Server) -> Mapping[str, Case]:
    limited = await limited_token(served, "bench")

    def asked(environment: str, key: str = "", *, by: Service = served) -> Case:
        path = _path(environment) + key
        requests = (by.request("POST", path, body=body) for body in _BODIES)
        return repeated(by, *requests, floor=_BARE)

    return {
        _BARE: repeated(bare, *map(_decoded, _BODIES), floor=_BARE),
        "one flag": asked("splits-100", "/bench-7"),
        f"one flag{_LIMITED}": asked("splits-100", "/bench-7", by=limited),
        "100 flags": asked("plain-100"),
        "100 flags, half splits": asked("splits-100"),
        f"100 flags, half splits{_LIMITED}": asked("splits-100", by=limited),
        "100 flags, 304": await _unchanged(served, "splits-100"),
        "100 flags of 20 rules, none met": asked("rules-20"),
        "1,000 flags, half splits": asked("splits-1000"),
        f"1,000 flags, half splits{_LIMITED}": asked("splits-1000", by=limited),
        "10,000 flags, half splits": asked("splits-10000"),
        _WITHOUT_PLANS: asked("ramped-100"),
        _PLANS: asked("plans-100"),
    }


def _cost_of_plans(figures: Sequence[Figure]) -> Figure:
    """Return the processor time of flags with plans, over that of flags without."""
    processor = {figure.case: figure.value for figure in figures if figure.unit == PROCESSOR}
    ratio = processor[_PLANS] / processor[_WITHOUT_PLANS]
    return Figure(case=_PLANS, unit="of those without", value=ratio, detail=_WITHOUT_PLANS)


def _costs_of_limits(figures: Sequence[Figure]) -> list[Figure]:
    """Return the processor time with a limited token, over that with an unlimited one."""
    processor = {figure.case: figure.value for figure in figures if figure.unit == PROCESSOR}
    return [
        Figure(
            case=case,
            unit="of the unlimited one",
            value=processor[case] / processor[unlimited],
            detail=unlimited,
        )
        for case in processor
        if (unlimited := case.removesuffix(_LIMITED)) != case
    ]


async def limited_token(served: Service, prefix: str) -> Service:
    """Return the service with a token that is limited to the keys below a prefix."""
    scopes = ["read", "evaluate"]
    new = {"name": "bench", "scopes": scopes, "environments": ["*"], "prefixes": [prefix]}
    async with connected(served.port) as connection:
        request = served.request("POST", "/v1/tokens", body=msgspec.json.encode(new))
        answer = await connection.ask(request)
    require_good(answer)
    return replace(served, token=msgspec.json.decode(answer.body)["text"])


def _decoded(body: bytes) -> bytes:
    """Return a request to the bare handler."""
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"POST {EVALUATE} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode() + body


async def _unchanged(served: Service, environment: str) -> Case:
    """Return the case of a client that has the current answer."""
    request = served.request("POST", _path(environment), body=_BODIES[0])
    async with connected(served.port) as connection:
        answer = await connection.ask(request)
    require_good(answer)
    known = f"If-None-Match: {answer.header('ETag')}\r\n"
    request = served.request("POST", _path(environment), known, _BODIES[0])
    return repeated(served, request, floor=_BARE, status=304)


def _path(environment: str) -> str:
    return f"/v1/environments/{environment}/ofrep/v1/evaluate/flags"
