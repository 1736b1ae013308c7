"""Forms of the console by a caller whose rights are limited to a prefix."""

from typing import Any
from urllib.parse import quote

import pytest

from app.access.models import Scope
from app.console.routes import PAGES
from tests.api.configuration.proposal_calls import Answer, Person, person, put, write
from tests.api.console.test_proposals import post
from tests.conftest import Service
from tests.factories import flag

STAGING = "/console/environments/staging"
OWN, FOREIGN = "payments/limit", "search/limit"
OWN_FLAG, FOREIGN_FLAG = "payments/flag", "search/flag"
READ, WRITE = Scope.READ, Scope.WRITE
_KEY = r"/{key:[\s\S]+}"
BY_KEY = [page for page in PAGES if page.method == "POST" and page.path.endswith(_KEY)]


@pytest.fixture
async def limited(service: Service) -> Person:
    await write(
        service,
        put(OWN, 1),
        put(FOREIGN, "confidential"),
        put(OWN_FLAG, flag(), kind="flag"),
        put(FOREIGN_FLAG, flag(), kind="flag", description="confidential"),
    )
    scopes = (READ, WRITE, Scope.REVEAL, Scope.APPROVE)
    return await person(service, *scopes, prefixes=("payments/",))


async def revision(service: Service) -> int:
    async with service.client.get("/v1/environments/staging") as answer:
        return int((await answer.json())["revision"])


def assert_silent(answer: Answer) -> None:
    assert "confidential" not in answer.body
    assert FOREIGN_FLAG not in answer.body


@pytest.mark.parametrize("path", [page.path for page in BY_KEY])
async def test_form_of_a_foreign_key_is_refused(
    service: Service, limited: Person, path: str
) -> None:
    before = await revision(service)
    prefix = path.replace("{environment}", "staging").removesuffix(_KEY)

    answers = [
        await post(limited, f"{prefix}/{key}", version="1", action="save", message="m")
        for key in (FOREIGN, FOREIGN_FLAG, "search/absent")
    ]

    for answer in answers:
        assert answer.status == 403, answer.body
        assert "confidential" not in answer.body
    assert await revision(service) == before


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (
            "/settings",
            {"key": "search/new", "kind": "setting", "type": "text", "value": "1", "version": "0"},
        ),
        ("/new-flag", {"key": "search/new", "type": "boolean"}),
        (f"/settings-rename/{OWN}", {"new_key": "search/new", "version": "1"}),
        (
            "/flag-actions",
            {"action": "delete", "flag": FOREIGN_FLAG, "step": "apply", "reviewed": "x"},
        ),
        ("/transfer", {"text": f'{{"entries": {{"{FOREIGN}": {{"value": 1}}}}}}'}),
        ("/promote", {"source": "production", "key": FOREIGN}),
        ("/environment", {"version": "1"}),
        ("/environment-delete", {"version": "1"}),
    ],
)
async def test_form_that_names_a_foreign_key_changes_nothing(
    service: Service, limited: Person, path: str, fields: dict[str, Any]
) -> None:
    before = await revision(service)

    answer = await post(limited, STAGING + path, **fields)

    assert answer.status in {403, 422}, answer.body
    assert "confidential" not in answer.body
    assert await revision(service) == before


async def test_form_without_the_scope_write_is_proposed(service: Service) -> None:
    await write(
        service, put("beta", {"and": [True]}, kind="segment"), put("on", flag(), kind="flag")
    )
    before = await revision(service)
    asha = await person(service, READ, Scope.PROPOSE)

    segment = {"version": "1", "view": "json", "json": '{"and": [false]}', "action": "save"}
    answer = await post(asha, f"{STAGING}/segments-draft/beta", **segment)
    reviewed = await post(asha, f"{STAGING}/flag-actions", action="switch-off", flag="on")

    assert answer.status == 303, answer.body
    assert "/console/proposals/" in answer.headers["Location"]
    assert (reviewed.status, "action=switch-off" in reviewed.headers["Location"]) == (303, True)
    assert await revision(service) == before


@pytest.mark.parametrize("action", ["restore", "revert"])
async def test_page_of_a_plan_with_foreign_keys_shows_none(
    service: Service, limited: Person, action: str
) -> None:
    changed = await write(service, put(OWN, 2, 1), put(FOREIGN, "confidential too", 1))
    number = changed["revision"] - (action == "restore")
    before = await revision(service)

    path = f"{STAGING}/{action}/{number}"
    shown = await limited.service.stranger.get(path, headers={"X-API-Key": limited.token})
    answer = await post(limited, path, step="apply")

    for text in (await shown.text(), answer.body):
        assert "confidential" not in text
        assert FOREIGN not in text
        assert f"{action.title()} only your keys" in text
    assert (shown.status, answer.status) == (403, 403)
    assert await revision(service) == before


@pytest.mark.parametrize("action", ["restore", "revert"])
async def test_plan_for_own_keys_changes_them_alone(
    service: Service, limited: Person, action: str
) -> None:
    changed = await write(service, put(OWN, 2, 1), put(FOREIGN, "confidential too", 1))
    path = f"{STAGING}/{action}/{changed['revision'] - (action == 'restore')}?own="

    shown = await limited.service.stranger.get(path, headers={"X-API-Key": limited.token})
    answer = await post(limited, path)

    text = await shown.text()
    assert shown.status == 200
    assert "Only your keys change" in text
    assert FOREIGN not in text
    assert answer.status == 303, answer.body
    async with service.client.get(
        f"/v1/environments/staging/changes/{changed['revision'] + 1}"
    ) as a:
        assert [change["key"] for change in (await a.json())["changes"]] == [OWN]


async def test_own_entry_is_saved_by_its_form(service: Service, limited: Person) -> None:
    before = await revision(service)

    switched = await post(limited, f"{STAGING}/flag-switch/{OWN_FLAG}", version="1", message="m")
    deleted = await post(limited, f"{STAGING}/settings-delete/{OWN}", version="1", message="m")

    assert [answer.status for answer in (switched, deleted)] == [303, 303], switched.body
    assert await revision(service) == before + 2
    assert quote("saved") in switched.headers["Location"]
