"""Past states and exports show a token whose rights are limited to prefixes its own keys alone."""

import pytest

from app.access.models import Scope
from tests.api.configuration.limited_caller import (
    FOREIGN,
    LOCAL,
    OWN,
    Caller,
    limited_caller,
    put,
    write,
)
from tests.conftest import Service


@pytest.fixture
async def caller(service: Service) -> Caller:
    return await limited_caller(service)


async def test_past_entries_are_own_keys(caller: Caller) -> None:
    past = f"{LOCAL}/configurations?revision=3"
    page = await caller.get(past)
    first = await caller.get(f"{past}&limit=1")
    second = await caller.get(f"{past}&limit=1&after={first['next']}")
    below = await caller.get(f"{past}&prefix=payments/eu")
    foreign = await caller.get(f"{past}&prefix=zebra")
    entry = await caller.get(f"{LOCAL}/configurations/{OWN}?revision=1")
    refusal = await caller.get(f"{LOCAL}/configurations/{FOREIGN}?revision=3", 403)

    assert [item["key"] for item in page["items"]] == ["payments/eu/token", OWN]
    assert page["next"] is None
    assert [item["key"] for item in first["items"]] == ["payments/eu/token"]
    assert ([item["key"] for item in second["items"]], second["next"]) == ([OWN], None)
    assert [item["key"] for item in below["items"]] == ["payments/eu/token"]
    assert (foreign["items"], foreign["next"]) == ([], None)
    assert (entry["value"], refusal["code"]) == (1, "key_foreign")


@pytest.mark.parametrize("format_", ["json", "yaml", "env"])
@pytest.mark.parametrize("moment", ["", "&revision=3"])
async def test_export_has_own_keys(caller: Caller, format_: str, moment: str) -> None:
    text = str(await caller.get(f"{LOCAL}/export?format={format_}{moment}"))

    assert "limit" in text.lower()


async def test_past_entries_of_several_prefixes_are_in_order(service: Service) -> None:
    keys = [f"{area}/{number}" for area in ("a", "b", "c", "d") for number in range(3)]
    await write(service, "", *(put(key, key) for key in keys))
    token = await service.token(Scope.READ, prefixes=("d/", "a/", "b/1", "none/"))
    caller, found = Caller(service, token), []
    after: str | None = ""

    while after is not None:
        path = f"{LOCAL}/configurations?revision=1&limit=2&after={after}"
        page = await caller.get(path)
        assert len(page["items"]) == 2 or page["next"] is None
        found += [item["key"] for item in page["items"]]
        after = page["next"]

    assert found == ["a/0", "a/1", "a/2", "b/1", "d/0", "d/1", "d/2"]


async def test_export_reveals_secrets_of_the_revealed_prefix(service: Service) -> None:
    await write(
        service,
        "",
        put("payments/eu/secret", "clear-eu", kind="secret"),
        put("payments/us/secret", "clear-us", kind="secret"),
        put("zebra/secret", "okapi", kind="secret"),
    )
    token = await service.token(Scope.READ, Scope.REVEAL, prefixes=("payments/eu/",))
    caller = Caller(service, token)

    for moment in ("", "&revision=1"):
        text = str(await caller.get(f"{LOCAL}/export?format=json&reveal=true{moment}"))
        assert "clear-eu" in text
        assert "clear-us" not in text
    refusal = await caller.get(f"{LOCAL}/configurations/payments/us/secret?reveal=true", 403)
    assert refusal["code"] == "key_foreign"
