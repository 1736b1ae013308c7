import re
from html import unescape
from typing import Any

import pytest

from app.access.models import Scope
from tests.api.console.flag_list import boolean, create
from tests.conftest import Service
from tests.factories import flag

PALETTE = "/console/environments/local/palette"


async def _search(service: Service, query: str, *scopes: Scope) -> dict[str, str]:
    """Return the URL of each result by its name, best first."""
    token = await service.token(*(scopes or (Scope.READ, Scope.WRITE)))
    text = await _text(service, query, token)
    found = re.findall(
        r'role="option" id="[^"]*" href="([^"]*)".*?<span class="grow">(.*?)</span>', text
    )
    return {unescape(name): unescape(url) for url, name in found}


async def _text(service: Service, query: str, token: str | None = None) -> str:
    async with (
        service.signed_in(token or service.admin_token) as browser,
        browser.get(PALETTE, params={"q": query}) as answer,
    ):
        assert answer.status == 200
        return await answer.text()


async def _change(service: Service, message: str, **entries: Any) -> None:
    operations = [{"op": "put", "key": key, "version": 0, **e} for key, e in entries.items()]
    body = {"message": message, "operations": operations}
    async with service.client.post("/v1/environments/local/changes", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def test_palette_finds_entries_of_each_kind(service: Service) -> None:
    entries = {
        "checkout/newFlow": {"kind": "flag", "value": flag()},
        "checkout-limits": {"value": 3},
        "checkout_users": {"kind": "segment", "value": {"in": [{"var": "plan"}, ["pro"]]}},
    }
    await _change(service, "New", **entries)

    found = await _search(service, "chkout")

    root = "/console/environments/local"
    assert found["checkout/newFlow"] == f"{root}/flags/checkout/newFlow"
    assert found["checkout-limits"] == f"{root}/settings/checkout-limits"
    assert found["checkout_users"] == f"{root}/segments/checkout_users"
    assert next(iter(await _search(service, "new flow"))) == "checkout/newFlow"


async def test_palette_without_query_lists_pages_and_actions(service: Service) -> None:
    found = await _search(service, "")

    assert next(iter(found)) == "Create a flag"
    assert found["Flags"] == "/console/environments/local/flags"
    assert "Go to production" in found


async def test_palette_of_a_reader_has_no_writing_action(service: Service) -> None:
    assert "Create a flag" not in await _search(service, "", Scope.READ)
    assert await _search(service, "promote", Scope.READ) == {}


@pytest.mark.parametrize("query", ["copy", "promote"])
async def test_palette_leads_to_the_promotion(service: Service, query: str) -> None:
    found = await _search(service, query)

    name = "Promote or copy to another environment"
    assert found[name] == "/console/environments/local/compare"


@pytest.mark.parametrize(
    ("query", "name", "path"),
    [
        ("new flag", "Create a flag", "/environments/local/new-flag"),
        ("add flag", "Create a flag", "/environments/local/new-flag"),
        ("create secret", "Create a secret", "/environments/local/settings-new?kind=secret"),
        ("create segment", "Create a segment", "/environments/local/segments-new"),
        ("create token", "Create a token", "/tokens/new"),
        ("create env", "Create an environment", "/new-environment"),
        ("properties", "Properties of this environment", "/environments/local/environment"),
        ("examine", "Examine this installation", "/health/doctor"),
    ],
)
async def test_palette_knows_actions(service: Service, query: str, name: str, path: str) -> None:
    everything = tuple(Scope)

    assert (await _search(service, query, *everything))[name] == f"/console{path}"
    assert name not in await _search(service, query, Scope.READ) or name.startswith("Properties")


async def test_palette_without_match_says_so(service: Service) -> None:
    assert "Nothing matches." in await _text(service, "zzzz")


async def test_palette_without_own_match_searches_elsewhere(service: Service) -> None:
    await create(service, {"search/ranking": boolean()}, "production")

    text = await _text(service, "ranking")
    await create(service, {"ranking": boolean(defaultVariant="on")})
    own = await _text(service, "ranking")

    assert "flag, off for all in production" in text
    assert "/console/environments/production/flags/search/ranking" in text
    assert "flag, on for all in local<" in own
    assert "production/flags/search" not in own


async def test_palette_searches_no_foreign_environment(service: Service) -> None:
    await create(service, {"ranking": boolean()}, "production")
    token = await service.token(Scope.READ, environments=("local",))

    assert "Nothing matches." in await _text(service, "ranking", token)
