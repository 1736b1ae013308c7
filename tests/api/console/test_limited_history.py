"""The pages of the history show a caller with limited rights its own keys alone."""

from typing import Any

import pytest

from app.access.models import Scope
from tests.api.console.test_changes import plain, rollout
from tests.conftest import Service
from tests.factories import flag

PAGE = "/console/environments/local"
OWN, FOREIGN = "payments/checkout", "zebra/ranking"
# Each is a part of a foreign key, value, message or description.
HIDDEN = ("zebra", "okapi", "quokka")


class Reader:
    """A token that may read and write keys below `payments/`."""

    def __init__(self, service: Service, token: str) -> None:
        self._service = service
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, status: int = 200) -> str:
        """Return the text of a page. Fails if its HTML has anything of a foreign key."""
        async with self._service.stranger.get(PAGE + path, headers=self._headers) as answer:
            html = await answer.text()
            assert answer.status == status, html
        assert [word for word in HIDDEN if word in html] == [], plain(html)
        return plain(html)


async def write(
    service: Service, message: str, environment: str = "local", **entries: tuple[int, Any, str]
) -> None:
    names = {"own": OWN, "foreign": FOREIGN, "rule": "zebra/rule", "use": "zebra/use"}
    operations = [
        {"op": "put", "key": names[name], "version": version, "value": value, "kind": kind}
        for name, (version, value, kind) in entries.items()
    ]
    body = {"message": message, "operations": operations}
    path = f"/v1/environments/{environment}/changes"
    async with service.client.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()


@pytest.fixture
async def reader(service: Service) -> Reader:
    """Write four revisions: own, foreign, both, foreign; and both keys in staging."""
    await write(service, "Start", own=(0, rollout(10), "flag"))
    await write(
        service,
        "okapi plans",
        foreign=(0, flag(defaultVariant="off", variants={"off": "quokka"}), "flag"),
    )
    await write(
        service,
        "Both",
        own=(1, rollout(60), "flag"),
        foreign=(1, flag(defaultVariant="off", variants={"off": "okapi"}), "flag"),
    )
    await write(service, "okapi again", rule=(0, "okapi", "setting"))
    await write(
        service,
        "Staging",
        "staging",
        own=(0, rollout(90), "flag"),
        foreign=(0, flag(), "flag"),
    )
    token = await service.token(Scope.READ, Scope.WRITE, prefixes=("payments/",))
    return Reader(service, token)


async def test_changes_are_those_of_own_keys(reader: Reader) -> None:
    text = await reader.get("/changes")

    assert ("Both" in text, "Start" in text) == (True, True)
    assert ("Revision 4" in text, "Revision 2" in text) == (False, False)
    assert "No change matches" in await reader.get("/changes?key=ebr")
    assert "Both" in await reader.get("/changes?key=check")


async def test_authors_are_those_of_own_keys(service: Service, reader: Reader) -> None:
    other = await service.token(Scope.WRITE)
    body = {"operations": [{"op": "put", "key": "zebra/x", "version": 0, "value": 1}]}
    headers = {"X-API-Key": other}
    async with service.stranger.post(
        "/v1/environments/local/changes", json=body, headers=headers
    ) as answer:
        assert answer.status == 200
        author = "token:" + other.split("_")[2]

    assert author not in await reader.get("/changes")


async def test_foreign_change_set_is_not_found(reader: Reader) -> None:
    for path in ("/changes/2", "/changes/2/summary", "/changes/2/effect", "/copy/2", "/changes/99"):
        assert "no such revision" in await reader.get(path, 404)


async def test_change_set_shows_own_keys(reader: Reader) -> None:
    text = await reader.get("/changes/3")
    summary = await reader.get("/changes/3/summary")
    copied = await reader.get("/copy/3")
    effect = await reader.get("/changes/3/effect")

    assert "Keys 1 key" in text
    assert "Rollout of on changed from 10 % to 60 %" in text
    assert "Rollout of on" in summary
    assert OWN in copied
    assert "of 10,000 keys changed" in effect


async def test_effect_of_an_own_segment_counts_own_flags(service: Service) -> None:
    rule = {"in": [{"var": "country"}, ["CH"]]}
    uses = {"if": [{"$ref": "payments/swiss"}, "on", "off"]}
    entries = [
        ("payments/swiss", rule, "segment"),
        (OWN, flag(defaultVariant="off", targeting=uses), "flag"),
        (FOREIGN, flag(defaultVariant="off", targeting=uses), "flag"),
    ]
    operations = [
        {"op": "put", "key": key, "version": 0, "value": value, "kind": kind}
        for key, value, kind in entries
    ]
    changed = {"in": [{"var": "country"}, ["CH", "AT", "DE"]]}
    second = [{**operations[0], "version": 1, "value": changed}]
    for body in ({"operations": operations}, {"operations": second}):
        async with service.client.post("/v1/environments/local/changes", json=body) as answer:
            assert answer.status == 200, await answer.text()
    token = await service.token(Scope.READ, prefixes=("payments/",))

    text = await Reader(service, token).get("/changes/2/effect")

    assert OWN in text


async def test_history_tab_needs_the_key(reader: Reader) -> None:
    for page in ("history", "flag-history"):
        assert "Rollout of on" in await reader.get(f"/{page}/{OWN}")
        assert "is outside of your rights" in await reader.get(f"/{page}/payment/none", 403)


async def test_past_states_have_own_keys(reader: Reader) -> None:
    flags = await reader.get("/flags?revision=3")
    entry = await reader.get(f"/flags/{OWN}?revision=1")

    assert "checkout" in flags
    assert "10" in entry
    for page in ("settings", "segments", "environment", "transfer"):
        await reader.get(f"/{page}?revision=4")
    await reader.get("/flags/zebr/x?revision=3", 403)


async def test_compared_moments_have_own_keys(reader: Reader) -> None:
    text = await reader.get("/compare?from=0")
    nothing = await reader.get("/compare?from=3")

    assert OWN in text
    assert "No difference" in nothing
    assert "that you may read" in nothing


async def test_compared_environments_have_own_keys(reader: Reader) -> None:
    text = await reader.get("/compare?against=staging")

    assert OWN in text
    assert "Rollout of on" in text


@pytest.mark.usefixtures("reader")
async def test_compared_environment_needs_its_own_rights(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("local",), prefixes=("payments/",))

    await Reader(service, token).get("/compare?against=staging", 403)


async def test_revert_of_a_foreign_change_set_is_not_found(reader: Reader) -> None:
    for path in ("/revert/2", "/revert/4", "/revert/99"):
        assert "no such revision" in await reader.get(path, 404)


async def test_write_back_of_foreign_keys_is_refused(reader: Reader) -> None:
    for path in ("/revert/3", "/restore/0", "/restore/2"):
        assert "do not cover every key" in await reader.get(path, 403)


async def test_revert_shows_later_changes_of_own_keys(reader: Reader) -> None:
    text = await reader.get("/revert/1")

    assert OWN in text
    assert "Both" in text


async def test_write_back_of_own_keys_is_shown(service: Service, reader: Reader) -> None:
    await write(service, "Less", own=(2, rollout(20), "flag"))

    for path in ("/revert/5", "/restore/4"):
        text = await reader.get(path)
        assert "Rollout of on changes from 20 % to 60 %" in text
