"""The work of each role, from the first click to the last, as people do it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from playwright.async_api import Browser, Page, expect

from app.access.models import Scope
from tests.api.sse import streaming
from tests.conftest import Service
from tests.console.browser import Visit, visiting
from tests.console.conftest import sign_in
from tests.console.sample import FLAG
from tests.factories import flag
from tests.process.conftest import Process, _forks, data_dir, launch, run
from tests.waiting import until

__all__ = ["_forks", "data_dir", "launch"]


async def stored(service: Service, environment: str, key: str) -> Any:
    path = f"/v1/environments/{environment}/configurations/{key}"
    async with service.client.get(path) as answer:
        return (await answer.json())["value"]


@pytest.fixture
def evaluate(service: Service) -> Iterator[Callable[..., Any]]:
    """Yield a function that evaluates a flag of local with the stock client of Python."""
    providers: list[OFREPProvider] = []

    async def ask(key: str, environment: str = "local", **attributes: str) -> Any:
        token = await service.token(Scope.EVALUATE, environments=(environment,))
        headers = {"Authorization": f"Bearer {token}"}
        provider = OFREPProvider(service.url, headers_factory=lambda: headers)
        providers.append(provider)
        api.set_provider(provider, domain := f"story-{len(providers)}")
        context = EvaluationContext(attributes.pop("key", "user-1"), dict(attributes))
        client = api.get_client(domain)
        return await asyncio.to_thread(client.get_boolean_value, key, False, context)

    yield ask
    for provider in providers:
        provider.session.close()
    api.clear_providers()


@asynccontextmanager
async def open_web_page(service: Service, token: str) -> AsyncIterator[Callable[..., Any]]:
    """Evaluate all flags and listen as the web provider of OFREP does, with its requests.

    Yields a function that waits for events until a flag has a value.
    """
    headers = {"Authorization": f"Bearer {token}"}

    async def values() -> tuple[dict[str, Any], str]:
        path = "/ofrep/v1/evaluate/flags"
        async with service.stranger.post(path, json={"context": {}}, headers=headers) as answer:
            body = await answer.json()
        found = {item["key"]: item.get("value") for item in body["flags"]}
        return found, body["eventStreams"][0]["url"]

    _, url = await values()
    async with streaming(service.stranger, url, {}) as stream:

        async def shows(key: str, value: Any) -> None:
            while (await values())[0][key] is not value:
                await stream.next()

        yield shows


async def test_developer_brings_a_flag_into_a_program_by_mouse(
    service: Service, visit: Visit, page: Page, evaluate: Callable[..., Any]
) -> None:
    await page.goto(f"{visit.url}/")
    await page.get_by_role("link", name="Create a flag").click()
    await page.get_by_label("Key", exact=True).fill("checkout/fast")
    await page.get_by_label("Description").fill("The new checkout on one page.")
    await page.get_by_role("button", name="Create flag").click()
    await expect(page.get_by_role("heading", name="checkout/fast")).to_be_visible()

    await page.get_by_role("button", name="Rule", exact=True).click()
    attribute = page.get_by_label("Attribute", exact=True)
    await expect(attribute).to_be_focused()
    await attribute.fill("email")
    await page.get_by_label("Operator").select_option("ends with")
    await page.get_by_label("Value", exact=True).fill("@example.org")
    await page.get_by_label("Serve").last.select_option("a split …")
    await page.get_by_label("Percent of part 1").fill("25")
    pending = page.locator("#pending-changes")
    await expect(pending).to_contain_text("Rule 1 is added: if email ends with @example.org")
    await expect(pending).to_contain_text("from 0 % to 25 %")
    preview = page.locator("#preview-results")
    await expect(preview).to_contain_text(re.compile(r"Of 10,000 sampled keys, 2,\d{3} change"))
    await page.get_by_label("Message").fill("A quarter tries it")
    await page.get_by_role("button", name="Save to local").click()
    await page.wait_for_url("**saved=2")

    await page.get_by_role("link", name="Use it", exact=True).click()
    waiting = page.locator("#first-evaluation")
    await expect(waiting).to_contain_text("Waiting for the first evaluation")
    assert await evaluate("checkout/fast", email="ada@example.org") is True
    await expect(waiting).to_contain_text("Evaluated once")
    value = await stored(service, "local", "checkout/fast")
    assert value["targeting"]["if"][0] == {"ends_with": [{"var": "email"}, "@example.org"]}
    assert value["targeting"]["if"][2] == {"fractional": [["on", 25], ["off", 75]]}


async def test_developer_creates_splits_and_reverts_by_keyboard(
    service: Service, visit: Visit, page: Page
) -> None:
    async def press(role: Any, name: str) -> None:
        await page.get_by_role(role, name=name, exact=True).focus()
        await page.keyboard.press("Enter")

    await visit.open_page("/console/environments/local/flags")
    await page.keyboard.press("n")
    await page.wait_for_url("**/new-flag")
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    await page.keyboard.type("search/fast")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**saved=1")
    await press("button", "Rule")
    await expect(page.get_by_label("Attribute", exact=True)).to_be_focused()
    await page.keyboard.type("plan")
    # Without a pause: what is typed while the page is drawn again must stay.
    await page.keyboard.press("Tab")
    await page.keyboard.type("ends")
    await page.keyboard.press("Tab")
    await page.keyboard.type("-pro")
    await page.get_by_label("Serve").last.focus()
    await page.keyboard.type("a split")
    await page.get_by_label("Percent of part 1").focus()
    await page.keyboard.press("Control+a")
    await page.keyboard.type("10")
    await expect(page.locator("#pending-changes")).to_contain_text("from 0 % to 10 %")
    await page.keyboard.press("Control+Enter")
    await page.wait_for_url("**saved=2")
    value = await stored(service, "local", "search/fast")
    assert value["targeting"]["if"][0] == {"ends_with": [{"var": "plan"}, "-pro"]}

    await press("button", "Undo")
    await page.wait_for_url("**saved=3&reverted=2")
    assert "targeting" not in await stored(service, "local", "search/fast")


async def test_on_call_switches_a_flag_off_in_production_and_back(
    service: Service, visit: Visit, page: Page, evaluate: Callable[..., Any]
) -> None:
    production = "/v1/environments/production"
    body = {"kind": "flag", "value": flag(defaultVariant="on", targeting={"if": [True, "on"]})}
    path = f"{production}/configurations/payments/newGateway"
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    token = await service.token(Scope.EVALUATE, environments=("production",))
    await visit.open_page("/console/environments/production/flags")

    await page.keyboard.press("Control+k")
    await expect(page.get_by_role("combobox", name="Search flags")).to_be_focused()
    await page.keyboard.type("gatew")
    await expect(page.get_by_role("listbox").get_by_role("option").first).to_contain_text(
        "payments/newGateway"
    )
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/flags/payments/newGateway")
    await page.get_by_role("switch").click()
    await page.get_by_label("Message").last.fill("Gateway times out")
    await page.get_by_role("button", name="Switch off").click()
    confirmation = page.get_by_label("Type production to confirm")
    assert await confirmation.evaluate("field => field.validity.valueMissing")
    await confirmation.fill("production")
    async with open_web_page(service, token) as web_page_shows:
        await page.get_by_role("button", name="Switch off").click()
        await web_page_shows("payments/newGateway", False)
    await page.wait_for_url("**saved=2")
    assert await evaluate("payments/newGateway", "production") is False

    await page.get_by_role("button", name="Undo").click()
    await page.wait_for_url("**saved=3&reverted=2")
    assert await evaluate("payments/newGateway", "production") is True
    await page.get_by_role("link", name="History", exact=True).click()
    await expect(page.locator("#key-history")).to_contain_text("Gateway times out")


async def test_auditor_finds_who_changed_a_flag_and_the_state_of_a_day(
    filled: Service, stranger: Visit
) -> None:
    page = stranger.page
    await sign_in(stranger, await filled.token(Scope.READ))
    await stranger.open_page("/console/environments/production/flags")
    await expect(page.get_by_text("Your token may not write in production")).to_be_visible()

    await page.get_by_role("link", name=FLAG).click()
    await page.get_by_role("link", name="History", exact=True).click()
    history = page.locator("#key-history")
    await expect(history).to_contain_text("Amina Odhiambo")
    await expect(history).to_contain_text("No complaints so far: 10 %")
    await (
        history.get_by_role("listitem")
        .filter(has_text="No complaints")
        .get_by_role("link", name=re.compile("Revision"))
        .first.click()
    )
    await expect(page.get_by_role("heading", name="No complaints so far: 10 %")).to_be_visible()
    await page.get_by_role("link", name="the state before").click()

    await expect(page.get_by_text("You see the past:")).to_be_visible()
    await page.get_by_role("link", name=FLAG).click()
    await expect(page.locator("#main")).to_contain_text("5 % on")
    assert await page.get_by_role("button", name=re.compile("Save")).count() == 0
    assert await page.get_by_role("switch").count() == 0


@pytest.fixture
async def process(launch: Callable[..., Process]) -> AsyncIterator[Process]:
    """Yield a service with a database server of its own, which the test can stop."""
    started = launch(HEARTBEAT_INTERVAL="0.2", SEED_ON_START="true")
    await started.start()
    await started.ready()
    yield started
    assert await started.stop() == 0


async def test_operator_reads_on_while_the_database_is_stopped(
    process: Process, launch: Callable[..., Process], browser: Browser
) -> None:
    async with visiting(browser, process.url) as visit:
        await sign_in(visit, process.token)
        page = visit.page
        await visit.open_page("/console/environments/local/flags/new-checkout")
        assert (await run(launch, "database", "stop"))[0] == 0

        async def is_away() -> bool:
            await page.reload()
            return await page.get_by_text("The database is away.").count() > 0

        await until(is_away)
        await expect(
            page.get_by_text(re.compile(r"state here is \d+ seconds? old"))
        ).to_be_visible()
        await visit.look(width=390)
        await page.get_by_label("Description", exact=True).fill("Written while it is away")
        visit.expect_fault("503")
        await page.get_by_role("button", name="Save to local").click()
        await expect(page.locator("#notices")).to_contain_text(
            re.compile("database.*(Not saved|may have succeeded)", re.IGNORECASE | re.DOTALL)
        )
        await expect(page.locator("#notices")).to_be_focused()
        await expect(page.locator("#notices")).to_be_in_viewport()
        assert "Written" in await page.get_by_label("Description", exact=True).input_value()
        await visit.open_page("/console/health")
        assert (await run(launch, "database", "migrate"))[0] == 0
        await process.ready()
        await expect(page.locator("#database-away")).to_have_count(0)
        assert not visit.unexpected, visit.unexpected
