"""The work of each role, from the first step to the last, by mouse and by keyboard."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from playwright.async_api import Browser, Page, expect

from app.access.models import Scope
from tests.conftest import Service
from tests.console.browser import Visit, visiting
from tests.console.conftest import sign_in
from tests.console.drivers import DRIVERS, Mouse
from tests.console.sample import FLAG
from tests.console.web_page import open_web_page
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


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> type[Mouse]:
    """Return how the person of the story works: by mouse or by keyboard."""
    return DRIVERS[request.param]


async def create_flag(service: Service, environment: str, key: str, **members: Any) -> None:
    path = f"/v1/environments/{environment}/configurations/{key}"
    body = {"kind": "flag", "value": flag(**members)}
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201, await answer.text()


async def test_developer_brings_a_flag_into_a_program_and_undoes_it(
    service: Service, page: Page, driver: type[Mouse], evaluate: Callable[..., Any]
) -> None:
    me = driver(page)
    await me.open(f"{service.url}/")
    await me.press(page.get_by_role("link", name="Create a flag"), "n")
    await me.type(page.get_by_label("Key", exact=True), "checkout/fast")
    await me.type(page.get_by_label("Description"), "The new checkout on one page.")
    await me.choose(page.get_by_role("button", name="Create flag"))
    await expect(page.get_by_role("heading", name="checkout/fast")).to_be_visible()

    await me.choose(page.get_by_role("button", name="Rule", exact=True))
    attribute = page.get_by_label("Attribute", exact=True)
    await expect(attribute).to_be_focused()
    # Without a pause: what is typed while the page is drawn again must stay.
    await me.type(attribute, "email")
    await me.pick(page.get_by_label("Operator"), "ends with")
    await me.type(page.get_by_label("Value", exact=True), "@example.org")
    await me.pick(page.get_by_label("Serve").last, "a split …")
    await me.type(page.get_by_label("Percent of part 1"), "25")
    pending = page.locator("#pending-changes")
    await expect(pending).to_contain_text("Rule 1 is added: if email ends with @example.org")
    await expect(pending).to_contain_text("from 0 % to 25 %")
    preview = page.locator("#preview-results")
    await expect(preview).to_contain_text(re.compile(r"Of 10,000 sampled keys, 2,\d{3} change"))
    await me.type(page.get_by_label("Message"), "A quarter tries it")
    await me.press(page.get_by_role("button", name="Save to local"), "Control+Enter")
    await page.wait_for_url("**saved=2")
    value = await stored(service, "local", "checkout/fast")
    assert value["targeting"]["if"][0] == {"ends_with": [{"var": "email"}, "@example.org"]}
    assert value["targeting"]["if"][2] == {"fractional": [["on", 25], ["off", 75]]}

    await me.choose(page.get_by_role("link", name="Use it", exact=True))
    waiting = page.locator("#first-evaluation")
    await expect(waiting).to_contain_text("Waiting for the first evaluation")
    assert await evaluate("checkout/fast", email="ada@example.org") is True
    await expect(waiting).to_contain_text("Evaluated once")

    await me.choose(page.get_by_role("link", name="History", exact=True))
    history = page.locator("#key-history")
    await me.choose(history.get_by_role("link", name="Revert…").first)
    await me.press(page.get_by_role("button", name="Revert"), "Control+Enter")
    await page.wait_for_url("**saved=3**")
    assert "targeting" not in await stored(service, "local", "checkout/fast")


async def test_product_manager_raises_a_rollout_and_undoes_it(
    service: Service, page: Page, driver: type[Mouse]
) -> None:
    rollout = {"fractional": [["on", 10], ["off", 90]]}
    await create_flag(service, "local", "shop/search", targeting=rollout)
    me = driver(page)
    await me.open(f"{service.url}/console/environments/local/flags")
    await me.choose(page.get_by_role("link", name="shop/search"))

    await me.type(page.get_by_label("Percent of part 1"), "25")
    pending = page.locator("#pending-changes")
    await expect(pending).to_contain_text("Rollout of on changes from 10 % to 25 %")
    preview = page.locator("#preview-results")
    await expect(preview).to_contain_text(re.compile(r"Of 10,000 sampled keys, 1,\d{3} change"))
    await me.type(page.get_by_label("Message"), "No complaints so far")
    await me.press(page.get_by_role("button", name="Save to local"), "Control+Enter")
    await page.wait_for_url("**saved=2")

    await me.choose(page.get_by_role("button", name="Undo"))
    await page.wait_for_url("**saved=3&reverted=2")
    assert (await stored(service, "local", "shop/search"))["targeting"] == rollout


async def test_on_call_switches_a_flag_off_in_production_and_back(
    service: Service,
    browser: Browser,
    page: Page,
    driver: type[Mouse],
    request: pytest.FixtureRequest,
) -> None:
    key = "payments/newGateway"
    targeting = {"if": [True, "on"]}
    await create_flag(service, "production", key, defaultVariant="on", targeting=targeting)
    token = await service.token(Scope.EVALUATE, environments=("production",))
    me = driver(page)
    await me.open(f"{service.url}/console/environments/production/flags")

    await me.press(page.get_by_role("button", name="Search Ctrl K"), "Control+k")
    search = page.get_by_role("combobox", name="Search flags")
    await expect(search).to_be_focused()
    await me.type(search, "gatew")
    found = page.get_by_role("listbox").get_by_role("option").first
    await expect(found).to_contain_text(key)
    await me.press(found, "Enter")
    await page.wait_for_url(f"**/flags/{key}")
    await me.choose(page.get_by_role("switch"))
    await me.type(page.get_by_label("Message").last, "Gateway times out")
    await me.choose(page.get_by_role("button", name="Switch off"))
    confirmation = page.get_by_label("Type production to confirm")
    assert await confirmation.evaluate("field => field.validity.valueMissing")
    await me.type(confirmation, "production")
    async with open_web_page(
        browser, service.url, environment="production", token=token, flag=key
    ) as shop:
        await shop.shows(True)
        pressed_at = time.time()
        await me.choose(page.get_by_role("button", name="Switch off"))
        measured = [("switched off", await shop.shows(False) - pressed_at)]
        await page.wait_for_url("**saved=2")

        await me.choose(page.get_by_role("link", name="Undo…"))
        await me.type(page.get_by_label("Type production to confirm"), "production")
        pressed_at = time.time()
        await me.choose(page.get_by_role("button", name="Revert"))
        measured.append(("undone", await shop.shows(True) - pressed_at))
        request.node.user_properties.extend(measured)
        await page.wait_for_url("**saved=3&reverted=2")
        changed = "ConfigurationChanged"
        assert await shop.events() == [("Ready", True), (changed, False), (changed, True)]

    await me.choose(page.get_by_role("link", name="History", exact=True))
    await expect(page.locator("#key-history")).to_contain_text("Gateway times out")


async def test_auditor_finds_who_changed_a_flag_and_the_state_of_a_day(
    filled: Service, stranger: Visit, driver: type[Mouse]
) -> None:
    page = stranger.page
    me = driver(page)
    await sign_in(stranger, await filled.token(Scope.READ))
    await me.open(f"{filled.url}/console/environments/production/flags")
    await expect(page.get_by_text("You may not write in production")).to_be_visible()

    await me.choose(page.get_by_role("link", name=FLAG))
    await me.choose(page.get_by_role("link", name="History", exact=True))
    history = page.locator("#key-history")
    await expect(history).to_contain_text("Amina Odhiambo")
    change = history.get_by_role("listitem").filter(has_text="No complaints so far: 10 %")
    await me.choose(change.get_by_role("link", name=re.compile("Revision")).first)
    await expect(page.get_by_role("heading", name="No complaints so far: 10 %")).to_be_visible()
    await me.choose(page.get_by_role("link", name="the state before"))

    await expect(page.get_by_text("You see the past:")).to_be_visible()
    await me.choose(page.get_by_role("link", name=FLAG))
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


async def assert_save_is_refused_in_words(me: Mouse) -> None:
    page = me.page
    await me.type(page.get_by_label("Description", exact=True), "Written while it is away")
    await me.press(page.get_by_role("button", name="Save to local"), "Control+Enter")
    await expect(page.locator("#notices")).to_contain_text(
        re.compile("database.*(Not saved|may have succeeded)", re.IGNORECASE | re.DOTALL)
    )
    await expect(page.locator("#notices")).to_be_focused()
    await expect(page.locator("#notices")).to_be_in_viewport()
    assert "Written" in await page.get_by_label("Description", exact=True).input_value()


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
        visit.expect_fault("503")
        for driver in DRIVERS.values():
            await visit.open_page("/console/environments/local/flags/new-checkout")
            await assert_save_is_refused_in_words(driver(page))
        await visit.open_page("/console/health")
        assert (await run(launch, "database", "migrate"))[0] == 0
        await process.ready()
        await expect(page.locator("#database-away")).to_have_count(0)
        assert not visit.unexpected, visit.unexpected
