"""The pages of the console while the database is away."""

import time

import pytest
from aiohttp import ClientSession

from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.source import STALE_AFTER_SECONDS
from app.console.forms import FormErrors
from app.database import Database
from app.database.client.pool import REPEAT_ADVICE
from app.errors import Unavailable
from app.http.keys import DATABASE
from app.settings import Settings
from tests.conftest import Service
from tests.factories import flag

CONSOLE = "/console"


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ({"HX-Request": "true"}, "Not saved. Your input is still here; try again."),
        ({}, "Not saved. Go back to your input, and try again."),
    ],
)
async def test_save_without_database_says_it_is_not_saved(
    service: Service, settings: Settings, headers: dict[str, str], advice: str
) -> None:
    path, form = (
        f"{CONSOLE}/environments/staging/flag-copy/f",
        {"source": "local", "version": "1", "state": "source"},
    )
    headers = headers | {"Origin": service.url}
    async with service.client.put(
        "/v1/environments/local/configurations/f",
        json={"value": flag(), "kind": "flag"},
        headers={"If-None-Match": "*"},
    ) as answer:
        assert answer.status == 201

    with service.using(DATABASE, Database(settings.database)):
        async with service.client.post(path, data=form, headers=headers) as answer:
            text = await answer.text()

    assert answer.status == 503
    assert "The database is not connected yet." in text
    assert advice in text


async def test_page_without_database_offers_to_try_again(
    service: Service, settings: Settings
) -> None:
    path = f"{CONSOLE}/environments/local/changes?author=me"

    with service.using(DATABASE, Database(settings.database)):
        async with service.client.get(path) as answer:
            text = await answer.text()
            assert answer.status == 503, text

    assert f'<p data-retry><a class="button" href="{path}">Try again</a>' in text


async def test_switch_dialog_without_database_says_so(service: Service, settings: Settings) -> None:
    async with service.client.put(
        "/v1/environments/local/configurations/f",
        json={"value": flag() | {"state": "DISABLED"}, "kind": "flag"},
        headers={"If-None-Match": "*"},
    ) as answer:
        assert answer.status == 201, await answer.text()
    path = f"{CONSOLE}/environments/local/flag-switch/f"

    with service.using(DATABASE, Database(settings.database)):
        async with service.client.get(path, headers={"HX-Request": "true"}) as answer:
            text = await answer.text()

    assert answer.status == 503, text
    assert "Nothing was switched. Try again." in text
    assert "data-retry" not in text


async def test_banner_of_an_absent_database_renews_itself(
    service: Service, console: ClientSession
) -> None:
    follower = service.app[FOLLOWER]
    age = STALE_AFTER_SECONDS + 35
    # A poll would confirm the snapshots.
    async with follower.refreshing:
        follower.adopt(follower.loaded(), confirmed_at=time.monotonic() - age)
        stale = await console.get(f"{CONSOLE}/database-away")
    await follower.refresh()
    fresh = await console.get(f"{CONSOLE}/database-away")

    text = await stale.text()
    assert "seconds</span> old" in text
    assert """hx-headers='{"X-Background": "1"}'""" in text
    assert "HX-Reswap" not in stale.headers
    assert fresh.headers["HX-Reswap"] == "delete"


async def test_swap_does_not_copy_styles_which_the_policy_refuses(service: Service) -> None:
    async with service.client.get(f"{CONSOLE}/environments/local/flags") as answer:
        assert '"attributesToSettle": ["class", "width", "height"]' in await answer.text()


def test_unsure_write_is_not_called_unsaved() -> None:
    error = Unavailable("database_away", f"The write may have succeeded. {REPEAT_ADVICE}")

    errors = FormErrors.of(error)

    assert errors.may_be_saved
    expected = "The write may have succeeded. Open the page again before you repeat it."
    assert errors.message == expected
