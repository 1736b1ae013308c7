"""Every way of writing, with and without protection, scopes and an emergency.

The lines come from the table of routes: a new route that writes needs a line here.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.access.models import Scope
from app.access.permissions import OPERATOR_RIGHTS
from app.configuration.changes import writes
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.properties import Intent, PropertiesPatch, ProtectionPatch
from app.configuration.entries import service as entries
from app.environments import service as environments
from app.http.keys import DATABASE
from app.server.routes import ROUTES
from tests.conftest import Service
from tests.factories import flag

_ENVIRONMENT = "/v1/environments/{environment}"
_KEY = "a"
_ANY = {"If-Match": "*"}


@dataclass(frozen=True, kw_only=True)
class State:
    """The environment `local` before a write: its revision, and a value that is not stored."""

    revision: int
    version: int
    value: int


@dataclass(frozen=True, kw_only=True)
class Write:
    """A request that changes the key `a` or the properties of the environment `local`."""

    path: str
    body: Callable[[State], Any] = lambda _: None
    text: Callable[[State], str] | None = None
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def _operation(state: State) -> dict[str, Any]:
    return {"op": "put", "key": _KEY, "version": state.version, "value": state.value}


# By the method and the path of the route.
WRITES = {
    f"PUT {_ENVIRONMENT}/configurations/{{key}}": Write(
        path="/configurations/a",
        body=lambda state: {"value": state.value, "message": "m"},
        headers=_ANY,
    ),
    f"DELETE {_ENVIRONMENT}/configurations/{{key}}": Write(
        path="/configurations/a", query="message=m", headers=_ANY
    ),
    f"PATCH {_ENVIRONMENT}": Write(
        path="", body=lambda state: {"metadata": {"n": state.value}, "message": "m"}, headers=_ANY
    ),
    f"POST {_ENVIRONMENT}/changes": Write(
        path="/changes", body=lambda state: {"operations": [_operation(state)], "message": "m"}
    ),
    f"POST {_ENVIRONMENT}/changes/{{revision}}/revert": Write(
        path="/changes/{revision}/revert", body=lambda _: {"message": "m"}
    ),
    f"POST {_ENVIRONMENT}/restore": Write(
        path="/restore", body=lambda state: {"revision": state.revision - 1, "message": "m"}
    ),
    f"POST {_ENVIRONMENT}/promote": Write(
        path="/promote", body=lambda _: {"from": "staging", "keys": [_KEY], "message": "m"}
    ),
    f"POST {_ENVIRONMENT}/import": Write(
        path="/import",
        body=lambda state: {"entries": {_KEY: {"value": state.value}}},
        query="message=m",
    ),
    f"PUT {_ENVIRONMENT}/lists/{{key}}": Write(
        path="/lists/people",
        text=lambda state: f"value\nuser-{state.value}\n",
        query="message=m",
        headers=_ANY | {"Content-Type": "text/csv"},
    ),
    f"PATCH {_ENVIRONMENT}/lists/{{key}}": Write(
        path="/lists/people",
        body=lambda state: {"add": [f"user-{state.value}"], "message": "m"},
        headers=_ANY,
    ),
    f"POST {_ENVIRONMENT}/flags/{{key}}/plan/{{action}}": Write(
        path="/flags/planned/plan/pause", body=lambda _: {"message": "m"}, headers=_ANY
    ),
}
_PLANNED = flag(
    plan={"name": "launch", "steps": [{"at": "2099-01-01T00:00:00Z", "defaultVariant": "on"}]}
)
_TOKENS = "They change no environment."
_ACCESS = "They change who may do what, and no environment."
_PROPOSALS = "The gate counts the approvals of a proposal: see tests/api/proposals/."
# Routes that a protection does not refuse, with the reason.
NOT_COVERED = {
    "POST /v1/environments": "The new environment has no protection before.",
    f"DELETE {_ENVIRONMENT}": "It is refused while there is a protection, also in an emergency.",
    f"POST {_ENVIRONMENT}/preview": "It writes nothing.",
    f"POST {_ENVIRONMENT}/flags/{{key}}/evaluate": "It writes nothing.",
    "POST /v1/tokens": _TOKENS,
    "DELETE /v1/tokens/{id}": _TOKENS,
    "POST /v1/tokens/{id}/rotate": _TOKENS,
    **dict.fromkeys(
        (
            *("POST /v1/people/{id}/suspend", "POST /v1/people/{id}/restore"),
            *("POST /v1/roles", "PUT /v1/roles/{name}", "DELETE /v1/roles/{name}"),
            *("POST /v1/grants", "DELETE /v1/grants/{id}"),
            *("POST /v1/projects", "PATCH /v1/projects/{name}", "DELETE /v1/projects/{name}"),
        ),
        _ACCESS,
    ),
    "POST /v1/proposals/{proposal}/evaluate": "It writes nothing.",
    "POST /v1/proposals": _PROPOSALS,
    "PATCH /v1/proposals/{proposal}": _PROPOSALS,
    **{
        f"POST /v1/proposals/{{proposal}}/{name}": _PROPOSALS
        for name in ("submit", "approve", "reject", "comment", "withdraw", "schedule", "apply")
    },
}
_PATTERN = re.compile(r"{(\w+):(?:[^{}]|{[^{}]*})*}")
_LINES = {" ".join((route.method, _PATTERN.sub(r"{\1}", route.path))): route for route in ROUTES}
_EVERY = frozenset(Scope)
GRANTS = [*({scope} for scope in Scope), *(_EVERY - {scope} for scope in Scope), _EVERY]
_numbers = itertools.count(1)


def test_every_writing_route_is_in_the_matrix() -> None:
    writing = {line for line, route in _LINES.items() if route.writes}

    assert writing == WRITES.keys() | NOT_COVERED.keys()


@pytest.mark.slow
@pytest.mark.parametrize("protection", [None, ProtectionPatch()], ids=["open", "protected"])
@pytest.mark.parametrize("line", WRITES)
async def test_write_succeeds_only_with_scopes_and_approval(
    service: Service, line: str, protection: ProtectionPatch | None
) -> None:
    route = _LINES[line]
    needed = {route.scope, *route.also}
    async with service.client.put(
        "/v1/environments/local/lists/people",
        data="value\nada\n",
        headers={"If-None-Match": "*", "Content-Type": "text/csv"},
    ) as answer:
        assert answer.status == 201, await answer.text()
    await _write(service, "local", PropertiesPatch(protection=protection))

    state = await _prepared(service)
    for scopes in GRANTS:
        token = await service.token(*scopes)
        for emergency in (False, True):
            status, revision = await _sent(
                service, WRITES[line], route.method, token, state, emergency=emergency
            )

            expected = 200
            held = scopes | {Scope.PROPOSE} if Scope.WRITE in scopes else scopes
            if not needed <= held or (emergency and Scope.PUBLISH not in scopes):
                expected = 403
            elif Scope.WRITE not in scopes or (protection is not None and not emergency):
                # It needs a proposal.
                expected = 409
            case = (sorted(scopes), emergency)
            assert (case, status) == (case, expected)
            if expected != 200:
                assert revision == state.revision, case
                continue
            assert revision > state.revision, case
            state = await _prepared(service)


async def _write(
    service: Service, environment: str, patch: PropertiesPatch | None, value: int = 0
) -> None:
    setting = Content(kind=Kind.SETTING, value=value)
    planned = Content(kind=Kind.FLAG, value=_PLANNED)
    operations = (
        []
        if patch
        else [
            Operation(key=_KEY, content=setting, expected=None),
            Operation(key="planned", content=planned, expected=None),
        ]
    )
    intent = Intent(operations=operations, patch=patch)
    await service.app[DATABASE].transact(
        lambda c: writes.apply(
            c,
            {environment: intent},
            actor="test",
            message="",
            authority=Authority(rights=OPERATOR_RIGHTS, emergency=True),
        )
    )


async def _prepared(service: Service) -> State:
    """Store a new value in `local` and another one in `staging`."""
    await _write(service, "staging", None, next(_numbers))
    await _write(service, "local", None, next(_numbers))
    async with service.app[DATABASE].connection() as connection:
        revision = (await environments.get(connection, "local")).revision
        entry, _, _ = await entries.get(connection, "local", _KEY)
    return State(revision=revision, version=entry.version, value=next(_numbers))


async def _sent(
    service: Service, write: Write, method: str, token: str, state: State, *, emergency: bool
) -> tuple[int, int]:
    """Return the status, and the revision afterwards."""
    query = "&".join(filter(None, (write.query, "emergency=true" if emergency else "")))
    path = f"/v1/environments/local{write.path}?{query}".replace("{revision}", str(state.revision))
    headers = {**write.headers, "X-API-Key": token}
    sent = {"json": write.body(state)} if write.text is None else {"data": write.text(state)}
    async with service.stranger.request(method, path, headers=headers, **sent) as answer:
        status = answer.status
    async with service.app[DATABASE].connection() as connection:
        return status, (await environments.get(connection, "local")).revision
