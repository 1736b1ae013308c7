"""Every route and page with every role and scope, own and foreign keys, and own and foreign names.

The cases come from the tables of routes, pages and roles, so new ones are tested automatically.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from app.access.models import Scope
from app.access.people.roles import BUILT_IN
from app.access.rate_limit import RATE_LIMIT
from app.console.routes import PAGES, ConsolePage
from app.http.routing import Route
from app.server.routes import ROUTES
from tests.conftest import Service
from tests.factories import filled

HOLDERS: Mapping[str, frozenset[Scope]] = {
    **{f"role {name}": role.scopes for name, role in BUILT_IN.items()},
    **{f"scope {scope}": frozenset({scope}) for scope in Scope if scope is not Scope.RELAY},
}
# The environment and the prefix of a token. Paths have the key `k` in `local`.
OWN = ("local", "k")
TOKENS = (("local", ""), OWN, ("local", "other/"), ("staging", ""), ("staging", "k"))
# The import names the key `k` in its body.
BODY, WITH_KEY_IN_BODY = {"k": 1}, "/v1/environments/{environment}/import"
FORM = {"name": "a", "source": "local"}
# It examines the whole installation.
FOR_EVERY_ENVIRONMENT = "/console/health/doctor"
HEADERS = {"If-None-Match": "*", "Sec-Fetch-Site": "same-origin"}


def is_allowed(
    entry: Route | ConsolePage, held: frozenset[Scope], environment: str, prefix: str
) -> bool:
    """Return what the table says, without the code of the guard."""
    effective = held | {Scope.PROPOSE} if Scope.WRITE in held else held
    if not effective.issuperset(filter(None, (entry.scope, *entry.also))):
        return False
    if "{environment}" in entry.path and environment != "local":
        return False
    if entry.path == FOR_EVERY_ENVIRONMENT:
        return False
    if not prefix:
        return True
    has_key = "{key" in entry.path or entry.path == WITH_KEY_IN_BODY
    return entry.by_key and (not has_key or prefix == "k")


async def status_of(service: Service, entry: Route | ConsolePage, token: str, **body: Any) -> int:
    service.app[RATE_LIMIT].forget()
    headers, path = {"X-API-Key": token, **HEADERS}, filled(entry.path)
    async with service.stranger.request(
        entry.method, path, headers=headers, allow_redirects=False, **body
    ) as answer:
        return answer.status


@pytest.mark.parametrize("holder", HOLDERS)
async def test_holder_reaches_only_the_routes_of_its_rights(service: Service, holder: str) -> None:
    wrong = {}
    for environment, prefix in TOKENS:
        token = await service.token(
            *HOLDERS[holder], environments=(environment,), prefixes=(prefix,)
        )
        for route in (route for route in ROUTES if route.scope is not None):
            status = await status_of(service, route, token, json=BODY)
            allowed = is_allowed(route, HOLDERS[holder], environment, prefix)
            if (status == 403) is allowed or status >= 500 or (not allowed and status < 400):
                wrong[environment, prefix, route.method, route.path] = status

    assert not wrong, "".join(f"\n{case}: {status}" for case, status in wrong.items())


@pytest.mark.parametrize("role", BUILT_IN)
async def test_role_reaches_only_the_pages_of_its_rights(service: Service, role: str) -> None:
    held, wrong = BUILT_IN[role].scopes, {}
    for environment, prefix in TOKENS:
        token = await service.token(*held, environments=(environment,), prefixes=(prefix,))
        # Those without a scope are for signing in, and check more than rights.
        for page in (page for page in PAGES if page.scope is not None):
            form = {"params": FORM} if page.method == "GET" else {"data": FORM}
            status = await status_of(service, page, token, **form)
            allowed = is_allowed(page, held, environment, prefix)
            if (status == 403) is allowed or status >= 500 or (not allowed and status < 400):
                wrong[environment, prefix, page.method, page.path] = status

    assert not wrong, "".join(f"\n{case}: {status}" for case, status in wrong.items())
