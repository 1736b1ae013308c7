"""No answer to a caller of some keys contains anything of another key, and none depends on one.

The requests come from the tables of routes and pages, so a new one is tested automatically.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest

from app.configuration.snapshots.reading import FOLLOWER
from tests.api.access.reader import Answer, Filled, filled_readers, leaks
from tests.api.access.readers import CLOSED, FORM_PAGES, REQUESTS, forms, name_of, pages, reads
from tests.api.access.two_owners import OTHER
from tests.conftest import Service

# What differs between equal requests: times, and the number of evaluations, which they are part of.
_VARYING = re.compile(
    r"\d{4}-\d\d-\d\d(?:T|\s)(?:[\d:.]|%3A)+(?:Z|[+-]\d\d:?\d\d)?"
    r"|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT|\d+ (?:second|minute)s? ago|just now"
    r"|\b\d{10}(?:\.\d+)?\b|Evaluated \d+ times"
)


@pytest.fixture
async def filled(service: Service) -> Filled:
    return await filled_readers(service)


async def _revisions(service: Service) -> list[int]:
    async with service.client.get("/v1/environments") as answer:
        return [item["revision"] for item in (await answer.json())["items"]]


def test_every_read_is_tried_or_closed() -> None:
    """A new route needs a line in readers.py."""
    unknown = [name_of(route) for route in reads() if name_of(route) not in {*REQUESTS, *CLOSED}]
    opened = [name_of(route) for route in reads() if route.by_key and name_of(route) in CLOSED]

    assert unknown == []
    assert opened == []
    assert {*REQUESTS, *CLOSED} <= {name_of(route) for route in reads()}
    assert {name_of(page) for page in forms()} == FORM_PAGES


async def test_answers_contain_nothing_of_other_keys(filled: Filled) -> None:
    found: dict[str, str] = {}
    for reader in filled.readers:
        found |= leaks(await reader.all())

    assert not found, _lines(found)


# The console leads on, and it answers any other path. A form may lack a field.
_ANSWERED = {200, 303, 404}
_ANSWERED_FORM = {200, 303, 400, 422}


async def test_every_open_route_and_page_answers(filled: Filled) -> None:
    """Otherwise the test of leaks would see errors only."""
    statuses: dict[str, set[int]] = {}
    for reader in filled.readers:
        for request in reader.requests():
            found = statuses.setdefault(request.template, set())
            found.add((await reader.get(request)).status)
    by_key = {name_of(route) for route in reads() if route.by_key}
    by_key |= {name_of(page) for page in (*pages(), *forms()) if page.by_key}

    wrong = {}
    for name, found in statuses.items():
        answered = _ANSWERED_FORM if name in FORM_PAGES else _ANSWERED
        if (name in by_key and not found & answered) or (name not in by_key and found != {403}):
            wrong[name] = found
    assert not wrong, _lines(wrong)


# The restore of a state before a change of others is refused.
RESTORE = "GET /console/environments/{environment}/restore/{revision}"


async def test_answers_do_not_depend_on_other_keys(service: Service, filled: Filled) -> None:
    before = [await reader.all() for reader in filled.readers]
    revisions = await _revisions(service)
    for environment in ("local", "staging"):
        await filled.other.fill(environment, "-more")
    await service.app[FOLLOWER].refresh()
    after = [await reader.all() for reader in filled.readers]
    revisions += await _revisions(service)

    differing = {
        name: (comparable(answer, revisions), comparable(second[name], revisions))
        for first, second in zip(before, after, strict=True)
        for name, answer in first.items()
        if not name.startswith(RESTORE)
        and comparable(answer, revisions) != comparable(second[name], revisions)
    }
    assert not differing, _lines({n: _difference(*texts) for n, texts in differing.items()})


# From a foreign key that exists to one that does not.
_RENAMED = OTHER, f"{OTHER}missing/"
_QUOTED = quote_plus(OTHER), quote_plus(f"{OTHER}missing/")


async def test_foreign_key_is_refused_whether_it_exists_or_not(filled: Filled) -> None:
    reader = filled.readers[1]
    unlike = {}
    for request in reader.requests(OTHER):
        if OTHER in request.path:
            known = await reader.get(request)
            unknown = await reader.get(replace(request, path=request.path.replace(*_RENAMED)))
            expected = known.text.replace(*_RENAMED).replace(*_QUOTED)
            if not known.status == unknown.status == 403 or expected != unknown.text:
                texts = (known.status, expected), (unknown.status, unknown.text)
                unlike[request.name] = _difference(*texts)

    assert not unlike, _lines(unlike)


def comparable(answer: Answer, revisions: Iterable[int]) -> tuple[int, str]:
    """Return an answer without times and the revision, which every reader of it may see."""
    numbers = "|".join(map(str, revisions))
    text = _VARYING.sub("", answer.text + answer.headers)
    return answer.status, re.sub(rf"\b(?:{numbers})\b", "", text)


def _lines(problems: Mapping[str, Any]) -> str:
    return "".join(f"\n{name}: {problem}" for name, problem in problems.items())


def _difference(first: tuple[int, str], second: tuple[int, str]) -> Any:
    """Return where two answers begin to differ."""
    one, two = first[1], second[1]
    start = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
    around = slice(max(start - 100, 0), start + 80)
    return first[0], second[0], one[around], two[around]
