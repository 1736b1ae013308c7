"""The pages of the history: changes in words, filters, reverts, restores, and the past."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest

from app.access.models import Scope
from app.database import Database
from app.http.keys import DATABASE
from app.settings import Settings
from tests.conftest import Service
from tests.factories import flag
from tests.html import parse_html
from tests.waiting import HANG_SECONDS

PAGE = "/console/environments/local"
OWN = {"Sec-Fetch-Site": "same-origin"}
KEY = "shop/checkout"
NEW = {"If-None-Match": "*"}


def rollout(percent: int) -> dict[str, Any]:
    split = {"fractional": [["on", percent], ["off", 100 - percent]]}
    return flag(defaultVariant="off", targeting=split)


async def write(service: Service, message: str = "", **entries: Any) -> None:
    """Write settings by key in one change set; a dictionary with `state` is a flag."""
    operations = []
    for name, (version, value) in entries.items():
        is_flag = isinstance(value, dict) and "state" in value
        key = KEY if name == "checkout" else name
        operations.append(
            {
                "op": "put",
                "key": key,
                "version": version,
                "value": value,
                "kind": "flag" if is_flag else "setting",
            }
        )
    body = {"message": message, "operations": operations}
    async with service.client.post("/v1/environments/local/changes", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def get(
    service: Service, path: str, status: int = 200, *, headers: dict[str, str] | None = None
) -> str:
    """Return the text of a page, without tags and with single spaces."""
    async with service.client.get(PAGE + path, headers=headers) as answer:
        html = await answer.text()
        assert answer.status == status, html
    return plain(html)


def plain(html: str) -> str:
    """Return the text of a page without its tags. Only those of blocks stand for a space."""
    body = re.sub(r"</?(?:a|b|code|span|strong)\b[^>]*>", "", html.partition("<body")[2] or html)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


async def post(service: Service, path: str, token: str = "", **fields: str) -> tuple[int, str]:
    """Post a form. A redirect gives its location."""
    headers = OWN | ({"Authorization": f"Bearer {token}"} if token else {})
    async with service.client.post(
        PAGE + path, data=fields, headers=headers, allow_redirects=False
    ) as answer:
        return answer.status, answer.headers.get("Location") or plain(await answer.text())


async def value(service: Service, key: str) -> Any:
    async with service.client.get(f"/v1/environments/local/configurations/{key}") as answer:
        return (await answer.json()).get("value")


async def test_timeline_says_changes_in_words(service: Service) -> None:
    await write(service, "Start", checkout=(0, rollout(10)), limit=(0, 5))
    await write(service, "More", checkout=(1, rollout(25)))

    text = await get(service, "/changes")

    assert text.index("Revision 2") < text.index("Revision 1")
    assert f"More {KEY}: Rollout of on changed from 10 % to 25 %" in text
    assert "Setting limit was created: 5" in text


async def test_timeline_without_changes_says_what_to_do(service: Service) -> None:
    assert "No changes yet" in await get(service, "/changes")


async def test_timeline_is_filtered_by_key_author_and_day(service: Service) -> None:
    await write(service, "One", limit=(0, 5))
    await write(service, "Two", size=(0, 5))
    today = datetime.now(UTC).date()
    tomorrow = today + timedelta(days=1)

    assert "Two" not in await get(service, "/changes?key=LIM")
    assert "No change matches" in await get(service, "/changes?author=token:none")
    assert "One" in await get(
        service, f"/changes?since={today - timedelta(days=1)}&until={tomorrow}"
    )
    later = today + timedelta(days=2)
    assert "No change matches" in await get(service, f"/changes?since={later}")
    assert "must be a day" in await get(service, "/changes?since=x", 400)


async def test_timeline_of_an_author_has_only_that_one(service: Service) -> None:
    await write(service, "One", limit=(0, 5))
    async with service.client.get("/v1/environments/local/changes") as answer:
        actor = (await answer.json())["items"][0]["actor"]

    assert "One" in await get(service, f"/changes?author={actor}")


async def test_timeline_has_pages(service: Service) -> None:
    for number in range(32):
        await write(service, f"Step {number:02}", limit=(number, number))

    first, second = await get(service, "/changes"), await get(service, "/changes?before=3")

    assert "Older changes" in first
    assert "Step 01" not in first
    assert ("Step 01" in second, "Older changes" in second) == (True, False)


async def test_change_set_shows_words_json_and_effect(service: Service) -> None:
    await write(service, checkout=(0, rollout(10)))
    await write(service, "Raise", checkout=(1, rollout(60)))

    text = await get(service, "/changes/2")
    effect = await get(service, "/changes/2/effect", headers={"HX-Request": "true"})

    assert "Rollout of on changed from 10 % to 60 %" in text
    async with service.client.get(f"{PAGE}/changes/2") as answer:
        assert re.search(r"<del>\s*10</del><ins>\s*60</ins>", await answer.text())
    changed = int(re.search(r"([\d,]+) of 10,000 keys changed", effect)[1].replace(",", ""))  # type: ignore[index]
    assert 4_500 < changed < 5_500
    assert f"{changed:,} from off to on" in effect


async def test_change_of_a_segment_has_the_effect_on_its_flags(service: Service) -> None:
    key = {"targetingKey": "sample-1"}
    rule = {"if": [{"$ref": "team"}, "on"]}
    for body in (
        {"key": "team", "kind": "segment", "value": {"==": [{"var": "plan"}, "team"]}},
        {"key": KEY, "kind": "flag", "value": flag(defaultVariant="off", targeting=rule)},
        {
            "key": "team",
            "kind": "segment",
            "version": 1,
            "value": {"!=": [{"var": "targetingKey"}, key["targetingKey"]]},
        },
    ):
        operations = [{"op": "put", "version": 0, **body}]
        async with service.client.post(
            "/v1/environments/local/changes", json={"operations": operations}
        ) as answer:
            assert answer.status == 200, await answer.text()

    assert f"{KEY}: 9,999 of 10,000 keys changed" in await get(service, "/changes/3/effect")


async def test_change_set_of_many_keys_has_pages(service: Service) -> None:
    entries: dict[str, Any] = {f"key-{number:02}": (0, number) for number in range(60)}
    await write(service, "", **entries)

    first = await get(service, "/changes/1")
    second = await get(service, "/changes/1?after=key-49")

    assert ("Keys 60 keys" in first, "Setting key-49 was" in first) == (True, True)
    assert ("Setting key-50 was" in first, "More keys" in first) == (False, True)
    assert ("Setting key-59 was" in second, "More keys" in second) == (True, False)


async def test_effect_of_a_new_flag_has_no_variant_before(service: Service) -> None:
    await write(service, checkout=(0, flag(defaultVariant="off")))

    effect = await get(service, "/changes/1/effect")

    assert "10,000 from no flag to off" in effect


async def test_summary_says_what_changed_and_who_did(service: Service, settings: Settings) -> None:
    await write(service, checkout=(0, rollout(10)))
    await write(service, "Raise", checkout=(1, rollout(60)))

    assert "Rollout of on changed from 10 % to 60 %" in await get(service, "/changes/2/summary")
    assert "by local admin" in await get(service, "/changes/2/summary?part=author")
    with service.using(DATABASE, Database(settings.database)):
        assert await get(service, "/changes/2/summary", 204) == ""


async def test_unknown_change_set_is_not_found(service: Service) -> None:
    assert "no such revision" in await get(service, "/changes/7", 404)
    assert "no such revision" in await get(service, "/changes/999999999999999999", 404)


async def test_revert_shows_its_change_before_it_writes(service: Service) -> None:
    await write(service, limit=(0, 5))
    await write(service, limit=(1, 10))

    shown = await get(service, "/revert/2")
    assert "After the revert" in shown
    assert ("limit changes from 10 to 5" in shown, await value(service, "limit")) == (True, 10)
    status, location = await post(service, "/revert/2", message="Too high")

    assert (status, location) == (303, f"{PAGE}/changes/3?saved=3&reverted=2")
    assert "Reverted revision 2 as revision 3." in await get(service, location.removeprefix(PAGE))
    assert await value(service, "limit") == 5
    assert "Too high" in await get(service, "/changes")
    assert "This is not possible." in await get(service, "/revert/2")


async def test_page_of_a_revert_says_what_it_reverted(service: Service) -> None:
    await write(service, limit=(0, 5))
    await write(service, limit=(1, 10))

    await post(service, "/revert/2", message="Revert revision 2")

    assert "Revision 3: reverted revision 2" in await get(service, "/changes/3")


async def test_revert_in_production_needs_its_name(service: Service) -> None:
    path = "/console/environments/production/revert/1"
    entry = "/v1/environments/production/configurations/limit"
    async with service.client.put(entry, json={"value": 5}, headers=NEW) as answer:
        assert answer.status == 201

    for typed, status in (("", 422), ("local", 422), ("production", 303)):
        fields = {"message": "Why", "confirmation": typed}
        async with service.client.post(
            path, data=fields, headers=OWN, allow_redirects=False
        ) as answer:
            assert answer.status == status
            if status == 422:
                page = parse_html(await answer.text())
                assert page.one("p", class_="field-error").text == "Type production, exactly"
                assert page.one("input", name="message")["value"] == "Why"
    async with service.client.get(entry) as answer:
        assert answer.status == 404


async def test_undo_in_production_leads_to_its_confirmation(service: Service) -> None:
    for environment, is_link in (("local", False), ("production", True)):
        root = f"/console/environments/{environment}"
        entry = f"/v1/environments/{environment}/configurations/limit"
        async with service.client.put(entry, json={"value": 5}, headers=NEW) as answer:
            assert answer.status == 201

        async with service.client.get(f"{root}/settings?saved=1") as answer:
            saved = parse_html(await answer.text()).one("div", id="saved")

        links = [link["href"] for link in saved.all("a") if link.text == "Undo…"]
        forms = [form["action"] for form in saved.all("form")]
        assert forms == ([] if is_link else [f"{root}/revert/1"])
        assert len(links) == is_link
        for link in links:
            async with service.client.get(link) as answer:
                page = parse_html(await answer.text())
            assert page.one("input", name="next")["value"] == f"{root}/settings"
            assert "required" in page.one("input", name="confirmation").attributes


async def test_list_of_changes_offers_the_revert_of_each(service: Service) -> None:
    await write(service, limit=(0, 5))
    await write(service, limit=(1, 10))

    async with service.client.get(f"{PAGE}/changes") as answer:
        html = await answer.text()

    assert [f'href="{PAGE}/revert/{n}"' in html for n in (1, 2)] == [True, True]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/revert/1", "Changes"),
        ("/restore/0", "Changes"),
        ("/new-flag", "Flags"),
        ("/flag-actions?action=delete&flag=a", "Flags"),
    ],
)
async def test_menu_marks_the_group_of_each_page(service: Service, path: str, name: str) -> None:
    await write(service, limit=(0, 5))

    async with service.client.get(PAGE + path) as answer:
        menu = parse_html(await answer.text()).one("nav", class_="nav")

    assert [link.text.strip() for link in menu.all("a", **{"aria-current": "page"})] == [name]


async def test_revert_after_a_save_returns_to_the_page(service: Service) -> None:
    await write(service, limit=(0, 5))

    status, location = await post(service, "/revert/1", next=f"{PAGE}/settings?view=tree")

    assert (status, location) == (303, f"{PAGE}/settings?view=tree&saved=2&reverted=1")


async def test_revert_never_leads_to_another_site(service: Service) -> None:
    await write(service, limit=(0, 5))

    _, location = await post(service, "/revert/1", next="//example.org/")

    assert location == "/console?saved=2&reverted=1"


@pytest.mark.parametrize("path", ["/revert/1", "/restore/1"])
async def test_unknown_environment_is_not_found(service: Service, path: str) -> None:
    address = f"/console/environments/unknown{path}"
    async with service.client.post(address, data={}, headers=OWN) as answer:
        assert answer.status == 404
        assert "There is no such environment." in plain(await answer.text())


async def test_revert_of_a_key_that_changed_again_is_refused(service: Service) -> None:
    for version, number in enumerate((5, 10, 20)):
        await write(service, f"Set {number}", limit=(version, number))

    shown = await get(service, "/revert/2")
    status, text = await post(service, "/revert/2")

    assert "This is not possible. 1 key changed again since revision 2." in shown
    assert (status, "Nothing was written." in text) == (412, True)
    assert "Set 20 limit changed from 10 to 20" in text
    assert await value(service, "limit") == 20


async def test_revert_of_changed_properties_is_refused(service: Service) -> None:
    for version, owner in enumerate("ab", start=1):
        patch = {"metadata": {"owner": owner}}
        condition = {"If-Match": f'"{version}"'}
        async with service.client.patch(
            "/v1/environments/local", json=patch, headers=condition
        ) as answer:
            assert answer.status == 200, await answer.text()

    text = await get(service, "/revert/1")

    assert "This is not possible. The environment is at version 3." in text


async def test_restore_shows_its_change_before_it_writes(service: Service) -> None:
    await write(service, limit=(0, 5))
    await write(service, limit=(1, 10), size=(0, 1))

    shown = await get(service, "/restore/1")
    status, location = await post(service, "/restore/1")

    words = "The restore is one change set with 2 keys. It deletes 1 setting and changes 1 setting"
    assert f"{words} in local." in shown
    assert (status, location) == (303, f"{PAGE}/changes/3?saved=3")
    assert (await value(service, "limit"), await value(service, "size")) == (5, None)
    assert "already as it was at revision 1" in await get(service, "/restore/1")


async def test_restore_that_deletes_has_a_red_button(service: Service) -> None:
    await write(service, limit=(0, 5))
    await write(service, limit=(1, 10))

    for path, is_red in (("/restore/0", True), ("/restore/1", False)):
        async with service.client.get(PAGE + path) as answer:
            assert ('<button class="button button-danger"' in await answer.text()) == is_red


async def test_past_before_the_first_change_offers_no_restore(service: Service) -> None:
    await write(service, limit=(0, 5))

    text = await get(service, "/changes?revision=0")

    assert "You see the past" in text
    assert "Restore this state" not in text


async def test_token_without_write_may_read_but_not_revert(service: Service) -> None:
    await write(service, limit=(0, 5))
    token = await service.token(Scope.READ)
    headers = {"Authorization": f"Bearer {token}"}

    text = await get(service, "/changes/1", headers=headers)
    status, _ = await post(service, "/revert/1", token)

    assert ("Read only." in text, "Revert…" in text, status) == (True, False, 403)


async def test_message_that_is_too_long_is_refused(service: Service) -> None:
    await write(service, limit=(0, 5))

    status, text = await post(service, "/revert/1", message="x" * 1_001)

    assert (status, "at most 1000 characters" in text) == (422, True)
    assert await value(service, "limit") == 5


async def test_history_of_a_key_is_a_page_and_a_part(service: Service) -> None:
    await write(service, "Start", checkout=(0, rollout(10)))
    await write(service, "Other", limit=(0, 5))

    whole = await get(service, f"/history/{KEY}")
    part = await get(service, f"/flag-history/{KEY}", headers={"HX-Request": "true"})

    assert ("Start" in whole, "Other" in whole) == (True, False)
    assert part.startswith("Revision 1")
    assert "never existed" in await get(service, "/history/none", 404)


@pytest.mark.parametrize("field", ["revision", "at"])
async def test_past_pages_show_the_state_of_the_moment(service: Service, field: str) -> None:
    await write(service, "Before", limit=(0, 5))
    async with service.client.get("/v1/environments/local/changes") as answer:
        written_at = (await answer.json())["items"][0]["created_at"]
    await write(service, "After", limit=(1, 10))
    moment = "1" if field == "revision" else written_at

    text = await get(service, f"/changes?{field}={moment.replace('+', '%2B')}")

    assert "You see the past: local at" in text
    assert "5 minutes ago" in text
    assert ("Before" in text, "After" in text) == (True, False)
    assert "Restore this state…" in text


async def test_past_before_the_first_change_is_empty(service: Service) -> None:
    await write(service, limit=(0, 5))

    # A date field sends no zone and no seconds.
    text = await get(service, "/changes?at=2020-01-31T09:30")
    assert "Nothing existed at this time" in text
    assert "Each save appears here" not in text
    assert "must be a time" in await get(service, "/changes?at=yesterday", 400)
    assert "no such revision" in await get(service, "/changes?revision=9", 404)


async def test_past_of_a_secret_shows_no_value(service: Service) -> None:
    body = {"kind": "secret", "value": "hunter2"}
    for path in ("", "?dry_run=false"):
        version = '"1"' if path else None
        condition = {"If-Match": version} if version else {"If-None-Match": "*"}
        async with service.client.put(
            f"/v1/environments/local/configurations/mail{path}", json=body, headers=condition
        ) as answer:
            assert answer.status in (200, 201), await answer.text()

    for path in ("/changes", "/changes/2", "/changes?revision=1", "/revert/2", "/restore/0"):
        async with service.client.get(PAGE + path) as answer:
            assert "hunter2" not in await answer.text()
    assert "The secret mail was replaced" in await get(service, "/changes/2")


@pytest.mark.parametrize(("host", "status"), [("x:99999", 200), ("", 200), ("\xe9", 400)])
async def test_copied_command_has_the_host_unless_refused(
    service: Service, host: str, status: int
) -> None:
    await write(service, a=(0, 1))

    text = await get(service, "/copy/1", status, headers={"Host": host})

    assert (f"curl --fail-with-body http://{host}/v1" in unescape(text)) is (status == 200)


async def test_page_of_one_change_set_has_no_clock(service: Service) -> None:
    await write(service, limit=(0, 5))

    for path, has_clock in (("/changes", True), ("/changes/1", False)):
        async with service.client.get(PAGE + path) as answer:
            assert ('id="as-of-links"' in await answer.text()) == has_clock


@pytest.mark.parametrize("path", ["/changes/1", "/history/limit"])
async def test_change_shows_its_exact_time_as_text(service: Service, path: str) -> None:
    await write(service, limit=(0, 5))

    async with service.client.get(PAGE + path) as answer:
        html = await answer.text()

    assert re.search(r"data-exact>[\d-]+ [\d:.]+ UTC</time>", html), html


@pytest.mark.parametrize(("query", "count"), [("", 0), ("?revision=1", 1)])
async def test_clock_of_a_past_page_is_marked(service: Service, query: str, count: int) -> None:
    await write(service, limit=(0, 5))

    async with service.client.get(f"{PAGE}/flags{query}") as answer:
        html = await answer.text()

    assert html.count('<summary class="warn-text" aria-label="As of: the past">') == count


async def test_flag_of_the_past_hides_present_states(service: Service) -> None:
    await write(service, checkout=(0, flag()))
    path = f"{PAGE}/flags/{KEY}?revision=1"

    async with service.client.get(path) as answer:
        html = await answer.text()

    pills = re.search(r'<nav class="environments".*?</nav>', html, re.DOTALL)
    assert pills is not None
    assert plain(pills[0]).split() == ["local", "development", "staging", "production"]
    menu = re.search(r'<ul id="environment-menu".*?</ul>', html, re.DOTALL)
    assert menu is not None
    for links in (pills[0], menu[0]):
        assert f'href="{path}"' in links


async def test_page_after_a_save_waits_for_its_revision(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a load balancer, another instance than the one that saved may serve the page."""
    monkeypatch.setattr("app.configuration.snapshots.reading.SERVED_SECONDS", HANG_SECONDS)

    async def read(query: str) -> str:
        async with service.client.get(f"{PAGE}/settings{query}") as answer:
            assert answer.status == 200
            return await answer.text()

    assert "limit" not in await read("")
    page = asyncio.create_task(read("?saved=1"))
    await asyncio.wait({page}, timeout=1)
    assert not page.done()
    await write(service, limit=(0, 5))

    assert "limit" in await page
