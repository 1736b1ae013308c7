"""Every route with every scope, environment and kind of bad token.

The cases come from the table of routes, so a new route is tested automatically. The requests try
each scope and each kind of environment; `test_role_matrix.py` tries their combinations in memory.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from app.access.format import checksum, generate_token
from app.access.guard import TOKENS
from app.access.models import Scope
from app.access.rate_limit import RATE_LIMIT
from app.http.routing import Route
from app.server.routes import ROUTES
from tests.conftest import Service
from tests.factories import filled

METHODS = [
    (method, route)
    for route in ROUTES
    for method in ([route.method, "HEAD"] if route.method == "GET" else [route.method])
]
# The scopes and the environments of a token.
GRANTS = [
    *(({scope}, ("local",)) for scope in Scope),
    *((set(Scope), environments) for environments in (("staging",), ("local", "staging"), ("*",))),
]


async def _status(service: Service, method: str, route: Route, token: str | None) -> int:
    # The rate limit is tested in test_failures.py.
    service.app[RATE_LIMIT].forget()
    headers = {"If-None-Match": "*"} | ({} if token is None else {"X-API-Key": token})
    path = filled(route.path)
    # Streams do not end: leaving the block closes them.
    async with service.stranger.request(method, path, json={"value": 1}, headers=headers) as answer:
        return answer.status


async def _bad_tokens(service: Service) -> dict[str, str | None]:
    """Create a bad token of each kind, with all scopes and environments."""
    expired = await service.token(*Scope, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    revoked = await service.token(*Scope)
    good = await service.token(*Scope)
    forged = generate_token(is_admin=True)
    body = forged.text[:-6].replace(forged.id, good.split("_")[2])
    await service.revoke(revoked)
    await service.app[TOKENS].refresh()
    return {
        "absent": None,
        "empty": "",
        "expired": expired,
        "revoked": revoked,
        "forged": forged.text,
        "spoilt": good[:-8] + ("0" if good[-8] != "0" else "1") + good[-7:],
        "another's id": body + checksum(body),
    }


async def test_bad_token_is_refused_on_every_route(service: Service) -> None:
    answered: Counter[int] = Counter()

    for kind, token in (await _bad_tokens(service)).items():
        for method, route in METHODS:
            status = await _status(service, method, route, token)
            answered[status] += 1
            if route.scope is not None:
                assert status == 401, (kind, method, route.path)
            assert status < 500, (kind, method, route.path)

    assert answered[401] > len(METHODS)


@pytest.mark.slow
@pytest.mark.parametrize(("scopes", "environments"), GRANTS)
async def test_token_can_do_only_what_scope_and_environments_allow(
    service: Service, scopes: set[Scope], environments: tuple[str, ...]
) -> None:
    token = await service.token(*scopes, environments=environments)
    covers = {"*", "local"} & {*environments}

    for method, route in METHODS:
        status = await _status(service, method, route, token)
        needed = {route.scope, *route.also}
        is_own = covers or "{environment}" not in route.path
        held = scopes | {Scope.PROPOSE} if Scope.WRITE in scopes else scopes
        allowed = route.scope is None or (needed <= held and is_own)
        assert (status == 403) is not allowed, (method, route.path, status)
        assert status < 500, (method, route.path)
        if not allowed:
            assert status >= 400
