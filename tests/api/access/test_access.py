"""Authentication and authorization: tokens, scopes, environments, and one 401 for all reasons."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.access.format import generate_token
from app.access.guard import TOKENS
from app.access.models import Scope
from app.console.first_request import CONSOLE
from app.console.provider_logout import BACK_CHANNEL
from app.console.routes import PAGES
from app.console.static_files import STATIC_PATH
from app.relay.routes import OF_SERVICE
from app.server.routes import ROUTES as PUBLIC
from tests.conftest import Server, Service
from tests.factories import filled
from tests.waiting import HANG_SECONDS

ROUTES = (*PUBLIC, *OF_SERVICE)

PATH = "/v1/environments/local/configurations/k"
OFREP = ("/ofrep/", "/v1/environments/{environment}/ofrep/")
NEW = {"If-None-Match": "*"}


async def _status(
    service: Service, token: str | None, method: str = "GET", path: str = PATH
) -> int:
    headers = NEW | ({"Authorization": f"Bearer {token}"} if token is not None else {})
    answer = await service.stranger.request(method, path, json={"value": 1}, headers=headers)
    return answer.status


async def test_every_reason_for_refusal_looks_the_same(service: Service) -> None:
    good = await service.token(Scope.READ)
    expired = await service.token(Scope.READ, expires_at=datetime.now(UTC) + timedelta(seconds=-5))
    revoked = await service.token(Scope.READ)
    await service.revoke(revoked)
    await service.app[TOKENS].refresh()
    wrong_secret = generate_token(is_admin=False).text
    other_end = good[:-1] + ("a" if good[-1] != "a" else "b")
    answers = []

    for token in ("", "x", "Bearer", wrong_secret, other_end, expired, revoked):
        answer = await service.stranger.get(PATH, headers={"Authorization": f"Bearer {token}"})
        body = await answer.json(content_type=None)
        body.pop("request_id")
        answers.append((answer.status, answer.headers["WWW-Authenticate"], body))

    absent = await service.stranger.get(PATH)
    assert absent.status == 401
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 401


async def test_both_headers_are_understood_and_never_together(service: Service) -> None:
    token = await service.token(Scope.READ)

    bearer = await service.stranger.get(
        "/v1/environments", headers={"Authorization": f"bearer {token}"}
    )
    api_key = await service.stranger.get("/v1/environments", headers={"X-API-Key": token})
    both = await service.stranger.get(
        "/v1/environments", headers={"X-API-Key": token, "Authorization": f"Bearer {token}"}
    )

    assert (bearer.status, api_key.status, both.status) == (200, 200, 400)


async def test_preflight_needs_no_token_and_exists_for_ofrep_only(service: Service) -> None:
    for route in ROUTES:
        status = await _status(service, None, "OPTIONS", filled(route.path))
        assert status == (204 if route.path.startswith(OFREP) else 405), route.path


async def test_token_stays_in_its_environments(service: Service) -> None:
    token = await service.token(Scope.READ, Scope.WRITE, environments=("staging",))
    headers = {"Authorization": f"Bearer {token}"}

    allowed = await service.stranger.put(
        PATH.replace("local", "staging"), json={"value": 1}, headers=NEW | headers
    )
    foreign = await service.stranger.put(PATH, json={"value": 1}, headers=NEW | headers)
    unknown = await service.stranger.get("/v1/environments/nowhere", headers=headers)
    listed = await service.stranger.get("/v1/environments", headers=headers)

    assert (allowed.status, foreign.status, unknown.status) == (201, 403, 403)
    assert [item["name"] for item in (await listed.json())["items"]] == ["staging"]


async def test_every_route_declares_its_scope() -> None:
    open_to_all = {route.path for route in ROUTES if not route.needs_token}

    assert open_to_all == {
        "/",
        "/docs",
        "/docs/openapi-explorer.js",
        "/health/live",
        "/health/ready",
        "/health/started",
        # Its ticket is in the path, since a browser cannot send a header.
        "/ofrep/v1/streams/{ticket}",
        "/openapi.json",
    }


async def test_every_route_of_the_router_is_in_the_table(service: Service) -> None:
    """A route outside the table would have no guard."""
    table = {(route.method, filled(route.path)) for route in ROUTES}
    table |= {(page.method, filled(page.path)) for page in PAGES}
    # It has no secrets, and a person who is not signed in needs it.
    table.add(("GET", filled(STATIC_PATH)))
    # The provider signs what it sends.
    table.add(("POST", BACK_CHANNEL))
    acting = {filled(page.path) for page in PAGES if page.acts}
    heads = {("HEAD", path) for method, path in table if method == "GET" and path not in acting}
    preflights = {("OPTIONS", filled(route.path)) for route in ROUTES if route.has_cors}

    # These lead to the routes of the pages.
    outer = {("*", "/console"), ("*", filled("/console/{path}"))}

    pages = await service.app[CONSOLE].pages()
    routed = {
        (route.method, filled(route.resource.canonical))
        for app in (service.app, pages)
        for route in app.router.routes()
        if route.resource is not None
    }

    assert routed == table | heads | preflights | outer


async def test_token_row_changed_by_sql_is_refused(service: Service, server: Server) -> None:
    """Write access to the database must not be enough to add scopes to a token."""
    token = await service.token(Scope.READ)
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.tokens set scopes = '{admin,read,write}' where name = 'test'"
        )
    await service.app[TOKENS].refresh()

    assert await _status(service, token, "GET", "/v1/environments") == 401


async def test_revoked_token_is_soon_refused(service: Service) -> None:
    token = await service.token(Scope.READ)
    before = await _status(service, token, "GET", "/v1/environments")
    await service.revoke(token)

    async with asyncio.timeout(HANG_SECONDS):
        while await _status(service, token, "GET", "/v1/environments") == 200:
            pass

    assert before == 200


async def test_token_for_unknown_environment_is_refused(service: Service) -> None:
    with pytest.raises(Exception, match="environments: must be"):
        await service.token(Scope.READ, environments=("nowhere",))
