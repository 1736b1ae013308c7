"""The tabs of a flag: Use it, Usage and Dependencies."""

import asyncio
import json
import os
import re
import sys
from html import unescape
from typing import Any

import pytest

from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from app.database import Database
from app.flags.handlers import USAGE
from app.http.keys import DATABASE
from app.settings import Settings
from tests.conftest import Service
from tests.factories import flag
from tests.waiting import HANG_SECONDS

PAGE = "/console/environments/local"
KEY = "shop/checkout"
TABS = ("use", "usage", "dependencies")


async def put(
    service: Service, key: str, value: Any, kind: str = "flag", environment: str = "local"
) -> None:
    path = f"/v1/environments/{environment}/configurations/{key}"
    body = {"kind": kind, "value": value}
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201, await answer.text()
    await service.app[FOLLOWER].refresh()


async def get(service: Service, path: str, status: int = 200) -> str:
    """Return a fragment as htmx gets it, without entities."""
    async with service.client.get(PAGE + path, headers={"HX-Request": "true"}) as answer:
        text = await answer.text()
        assert answer.status == status, text
        assert "<html" not in text
        return unescape(text)


async def evaluate(service: Service, key: str = KEY, **context: Any) -> None:
    path = f"/v1/environments/local/ofrep/v1/evaluate/flags/{key}"
    async with service.client.post(path, json={"context": context}) as answer:
        assert answer.status == 200, await answer.text()


async def test_use_it_waits_for_the_first_evaluation(service: Service) -> None:
    await put(service, KEY, flag(defaultVariant="off"))

    tab = await get(service, f"/flag-use/{KEY}")
    waiting = await get(service, f"/flag-first-evaluation/{KEY}")
    await evaluate(service)
    at_once = await get(service, f"/flag-first-evaluation/{KEY}")
    await evaluate(service)
    await service.app[USAGE].run_once()
    flushed = await get(service, f"/flag-first-evaluation/{KEY}")

    assert f'get_boolean_value("{KEY}", False, user)' in tab
    assert f"{service.url}/ofrep/v1/evaluate/flags/{KEY}" in tab
    for text in (tab, waiting):
        assert 'hx-trigger="every 2s"' in text
        assert "Waiting for the first evaluation" in text
    assert "Evaluated once" in at_once
    assert "just now" in at_once
    assert "hx-trigger" not in at_once
    assert "Evaluated 2 times" in flushed


async def test_usage_shows_counts_by_variant_and_hour(service: Service) -> None:
    rule = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", "off"]}
    await put(service, KEY, flag(defaultVariant="off", targeting=rule))
    empty = await get(service, f"/flag-usage/{KEY}")
    for plan in ("pro", "free", "free"):
        await evaluate(service, plan=plan)
    await service.app[USAGE].run_once()

    day = await get(service, f"/flag-usage/{KEY}")
    week = await get(service, f"/flag-usage/{KEY}?range=week")

    assert "Not evaluated yet" in empty
    assert "<strong>3 evaluations</strong>" in day
    assert day.count('<rect class="shade-') == 2
    rows = re.findall(r'</svg> (\w+)</th><td class="number">(\d+)', day)
    assert rows == [("on", "1"), ("off", "2")]
    assert "Last 7 days" in week
    assert 'viewBox="0 0 1680 3"' in week


async def test_usage_agrees_with_use_it_before_counts_arrive(service: Service) -> None:
    await put(service, KEY, flag(defaultVariant="off"))
    await evaluate(service)

    use = await get(service, f"/flag-first-evaluation/{KEY}")
    first = await get(service, f"/flag-usage/{KEY}")
    await service.app[USAGE].run_once()
    await evaluate(service)
    second = await get(service, f"/flag-usage/{KEY}")

    assert "Evaluated once" in use
    assert "Evaluated once" in first
    assert "arrive within a minute" in first
    assert "Not evaluated yet" not in first
    assert "<strong>1 evaluation</strong>" in second
    assert "1 more evaluation, just now." in second


async def test_usage_counts_outcomes_without_a_variant(service: Service) -> None:
    await put(service, KEY, flag(state="DISABLED"))
    await evaluate(service)
    await service.app[USAGE].run_once()

    assert "no variant</th>" in await get(service, f"/flag-usage/{KEY}")


async def test_dependencies_show_segments_and_their_other_flags(service: Service) -> None:
    await put(service, "staff", {"ends_with": [{"var": "email"}, "@example.org"]}, "segment")
    await put(service, "beta", {"or": [{"$ref": "staff"}, {"!": [{"var": "x"}]}]}, "segment")
    await put(service, KEY, flag(targeting={"if": [{"!!": [{"$ref": "beta"}]}, "on"]}))
    await put(service, "other", flag(targeting={"if": [{"!!": [{"$ref": "staff"}]}, "on"]}))
    await put(service, "plain", flag())

    text = await get(service, f"/flag-dependencies/{KEY}")

    beta, staff = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", text, re.DOTALL)
    assert "/segments/beta" in beta
    assert "no other flag" in beta
    assert "through beta" in staff
    assert "/flags/other" in staff
    assert "uses no segment" not in text
    assert "use no segment" in await get(service, "/flag-dependencies/plain")


async def test_dependencies_show_flags_in_both_directions(service: Service) -> None:
    needs = [{"flag": KEY, "variant": "on"}]
    await put(service, KEY, flag(defaultVariant="on"))
    await put(service, "shop", flag(prerequisites=needs, defaultVariant="off"))
    await put(service, "cart", flag(targeting={"if": [{"flag": ["shop", "off"]}, "on"]}))

    of_needed = await get(service, f"/flag-dependencies/{KEY}")
    of_middle = await get(service, "/flag-dependencies/shop")

    assert "needs no other flag" in of_needed
    assert "/flags/cart" in of_needed
    assert "/flags/shop" in of_needed
    assert f"/flags/{KEY}" in of_middle
    assert "<td>on</td>" in of_middle
    assert "/flags/cart" in of_middle
    assert "No flag needs this flag" in await get(service, "/flag-dependencies/cart")


async def test_dependencies_compare_environments_in_words(service: Service) -> None:
    await put(service, KEY, flag(defaultVariant="off"))
    await put(service, KEY, flag(defaultVariant="on"), environment="production")

    text = await get(service, f"/flag-dependencies/{KEY}")

    assert re.search(r"From <a [^>]*>production</a> to local", text)
    assert "<li>" in text.split('id="environments-title"')[1]
    assert "Not in development, staging." in text


@pytest.mark.parametrize("tab", TABS)
async def test_tab_is_a_page_without_htmx(service: Service, tab: str) -> None:
    await put(service, KEY, flag())

    async with service.client.get(f"{PAGE}/flag-{tab}/{KEY}") as answer:
        text = await answer.text()
    past = await get(service, f"/flag-{tab}/{KEY}?revision=1")

    assert answer.status == 200
    assert "<html" in text
    assert f"/flags/{KEY}" in text
    assert past
    await get(service, f"/flag-{tab}/none", status=404)


async def test_usage_says_when_the_database_is_away(service: Service, settings: Settings) -> None:
    await put(service, KEY, flag())
    await evaluate(service)

    with service.using(DATABASE, Database(settings.database)):
        usage = await get(service, f"/flag-usage/{KEY}")
        first = await get(service, f"/flag-first-evaluation/{KEY}")

    assert "The database is away." in usage
    assert "Evaluated once" in first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variants", "printed"),
    [
        ({"on": True, "off": False}, "True"),
        ({"on": "new", "off": 'a "quoted" one'}, "new"),
        ({"on": 7, "off": 1}, "7"),
        ({"on": 0.5, "off": 1}, "0.5"),
        ({"on": {"a": [1]}, "off": {"a": []}}, "{'a': [1]}"),
    ],
)
async def test_python_program_works_as_printed(
    service: Service, variants: dict[str, Any], printed: str
) -> None:
    rule = {"if": [{"in": [{"var": "plan"}, ["pro's", "team"]]}, "on"]}
    await put(service, KEY, flag(variants=variants, defaultVariant="off", targeting=rule))
    token = await service.token(Scope.EVALUATE, environments=("local",))
    text = await get(service, f"/flag-use/{KEY}")
    program, curl = (
        re.findall(rf'<pre id="snippet-{number}">(.*?)</pre>', text, re.DOTALL)[0]
        for number in (1, 8)
    )

    environ = {**os.environ, "FLAGSTONE_TOKEN": token}
    python = await _output(sys.executable, "-c", program, environ=environ)
    shell = await _output("bash", "-c", curl, environ=environ)

    assert python == printed
    assert json.loads(shell)["variant"] == "on"


async def _output(*command: str, environ: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(HANG_SECONDS):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode().strip()
