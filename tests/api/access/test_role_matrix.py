"""Every route and page with every role and scope, own and foreign keys, and own and foreign names.

The cases come from the tables of routes, pages and roles, so new ones are tested automatically. All
combinations try the check of rights in memory. Requests try each role with own rights, and an
administrator with the others: they show what a route or a page gives to that check.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from app.access.caller import Caller
from app.access.guard import permit
from app.access.models import Grant, Scope
from app.access.people.roles import BUILT_IN
from app.access.permissions import Rights
from app.access.rate_limit import RATE_LIMIT
from app.console.routes import PAGES, ConsolePage
from app.errors import Forbidden
from app.http.routing import Route
from app.server.routes import ROUTES
from tests.conftest import Service
from tests.factories import filled

ROLES: Mapping[str, frozenset[Scope]] = {
    f"role {name}": role.scopes for name, role in BUILT_IN.items()
}
ADMIN = "role admin"
HOLDERS: Mapping[str, frozenset[Scope]] = {
    **ROLES,
    **{f"scope {scope}": frozenset({scope}) for scope in Scope},
}
# The environment and the prefix of a token. Paths have the key `k` in `local`.
OWN = (("local", ""), ("local", "k"))
FOREIGN = (("local", "other/"), ("staging", ""), ("staging", "k"))
# Those without a scope are for strangers and for signing in, and check more than rights.
GUARDED_ROUTES = tuple(route for route in ROUTES if route.scope is not None)
GUARDED_PAGES = tuple(page for page in PAGES if page.scope is not None)
# The import names the key `k` in its body.
BODY, WITH_KEY_IN_BODY = {"k": 1}, "/v1/environments/{environment}/import"
FORM = {"name": "a", "source": "local"}
# It examines the whole installation.
FOR_EVERY_ENVIRONMENT = "/console/health/doctor"
HEADERS = {"If-None-Match": "*", "Sec-Fetch-Site": "same-origin"}


def is_permitted(
    entry: Route | ConsolePage, held: frozenset[Scope], environment: str, prefix: str
) -> bool:
    """Return what the table says, without the code of the guard."""
    effective = held | {Scope.PROPOSE} if Scope.WRITE in held else held
    if not effective.issuperset(filter(None, (entry.scope, *entry.also))):
        return False
    if "{environment}" in entry.path and environment != "local":
        return False
    has_key = "{environment}" in entry.path and "{key" in entry.path
    return not prefix or (entry.by_key and (not has_key or prefix == "k"))


def is_allowed(
    entry: Route | ConsolePage, held: frozenset[Scope], environment: str, prefix: str
) -> bool:
    """Return whether the handler allows it too: OFREP takes the environment from the token."""
    if entry.path == FOR_EVERY_ENVIRONMENT:
        return False
    has_key = "{key" in entry.path or entry.path == WITH_KEY_IN_BODY
    if has_key and not "k".startswith(prefix):
        return False
    return is_permitted(entry, held, environment, prefix)


def test_guard_permits_each_holder_only_its_rights() -> None:
    wrong = []
    callers = {
        (holder, *covered): Caller(rights=Rights([_grant(scopes, *covered)]))
        for holder, scopes in HOLDERS.items()
        for covered in (*OWN, *FOREIGN)
    }
    entries: list[Route | ConsolePage] = [*GUARDED_ROUTES, *GUARDED_PAGES]
    for entry in entries:
        values = {"environment": "local", "key": "k"}
        path = {name: value for name, value in values.items() if f"{{{name}" in entry.path}
        request = make_mocked_request(entry.method, "/", match_info=path)
        scopes = [Scope(scope) for scope in (entry.scope, *entry.also) if scope is not None]
        for (holder, environment, prefix), caller in callers.items():
            permitted = True
            try:
                permit(request, caller, scopes, by_key=entry.by_key)
            except Forbidden:
                permitted = False
            if permitted is not is_permitted(entry, HOLDERS[holder], environment, prefix):
                wrong.append((holder, environment, prefix, entry.method, entry.path))

    assert wrong == []


def _grant(scopes: frozenset[Scope], environment: str, prefix: str) -> Grant:
    return Grant(
        scopes=scopes,
        environments=frozenset({environment}),
        prefixes=frozenset({prefix}),
        expires_at=None,
    )


def requested(holder: str) -> tuple[tuple[str, str], ...]:
    """Return the tokens of a holder that are tried by requests."""
    return (*OWN, *FOREIGN) if holder == ADMIN else OWN


async def status_of(service: Service, entry: Route | ConsolePage, token: str, **body: Any) -> int:
    """Return the status of a request. It reaches a route, and a refusal says who can help."""
    service.app[RATE_LIMIT].forget()
    headers, path = {"X-API-Key": token, **HEADERS}, filled(entry.path)
    async with service.stranger.request(
        entry.method, path, headers=headers, allow_redirects=False, **body
    ) as answer:
        assert answer.status != 405, path
        if answer.status == 403:
            assert "administrator" in await answer.text(), path
        return answer.status


def is_wrong(status: int, *, allowed: bool) -> bool:
    """Return whether a request was allowed against the table, refused against it, or failed."""
    return (status == 403) is allowed or status >= 500 or (not allowed and status < 400)


@pytest.mark.slow
@pytest.mark.parametrize("holder", ROLES)
async def test_holder_reaches_only_the_routes_of_its_rights(service: Service, holder: str) -> None:
    held, wrong = HOLDERS[holder], {}
    for environment, prefix in requested(holder):
        token = await service.token(*held, environments=(environment,), prefixes=(prefix,))
        for route in GUARDED_ROUTES:
            status = await status_of(service, route, token, json=BODY)
            if is_wrong(status, allowed=is_allowed(route, held, environment, prefix)):
                wrong[environment, prefix, route.method, route.path] = status

    assert not wrong, "".join(f"\n{case}: {status}" for case, status in wrong.items())


@pytest.mark.slow
@pytest.mark.parametrize("holder", ROLES)
async def test_role_reaches_only_the_pages_of_its_rights(service: Service, holder: str) -> None:
    held, wrong = HOLDERS[holder], {}
    for environment, prefix in requested(holder):
        token = await service.token(*held, environments=(environment,), prefixes=(prefix,))
        for page in GUARDED_PAGES:
            form = {"params": FORM} if page.method == "GET" else {"data": FORM}
            status = await status_of(service, page, token, **form)
            if is_wrong(status, allowed=is_allowed(page, held, environment, prefix)):
                wrong[environment, prefix, page.method, page.path] = status

    assert not wrong, "".join(f"\n{case}: {status}" for case, status in wrong.items())
