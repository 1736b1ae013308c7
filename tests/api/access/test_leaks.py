"""No answer to a caller of some keys contains anything of another key, and none depends on one.

The requests come from the tables of routes and pages, so a new one is tested automatically. They
are sent once, and the tests compare the answers.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus

import pytest

from app.access.guard import ACCESS_LOG
from app.access.rate_limit import RATE_LIMIT
from app.configuration.snapshots.reading import FOLLOWER
from app.flags.handlers import USAGE
from tests.api.access.reader import Answer, Reader, filled_readers, leaks
from tests.api.access.readers import (
    CLOSED,
    FORM_PAGES,
    REQUESTS,
    Request,
    forms,
    name_of,
    pages,
    reads,
)
from tests.api.access.two_owners import OTHER
from tests.conftest import Admin, Service, clean

# What differs between equal requests: times, and the number of evaluations, which they are part of.
_VARYING = re.compile(
    r"\d{4}-\d\d-\d\d(?:T|\s)(?:[\d:.]|%3A)+(?:Z|[+-]\d\d:?\d\d)?"
    r"|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT|\d+ (?:second|minute)s? ago|just now"
    r"|\b\d{10}(?:\.\d+)?\b|Evaluated \d+ times"
)


# From a foreign key that exists to one that does not.
_RENAMED = OTHER, f"{OTHER}missing/"
_QUOTED = quote_plus(OTHER), quote_plus(f"{OTHER}missing/")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The answers to each reader, before and after the other owner adds entries.

    `foreign` has the answers for the keys of the other owner, and for keys that do not exist.
    """

    requests: Mapping[str, Request]
    before: tuple[Mapping[str, Answer], ...]
    after: tuple[Mapping[str, Answer], ...]
    foreign: Mapping[str, tuple[Answer, Answer]]
    revisions: tuple[int, ...]


@pytest.fixture(scope="module")
async def seen(running: Service, cleaner: Admin) -> Seen:
    """Send all requests once, beginning with a clean database as in the fixture `service`."""
    await running.app[USAGE].run_once()
    await running.app[ACCESS_LOG].run_once()
    await asyncio.to_thread(clean, cleaner)
    await running.app[FOLLOWER].refresh()
    running.app[RATE_LIMIT].forget()
    filled = await filled_readers(running)
    before = [await reader.all() for reader in filled.readers]
    foreign = await _foreign(filled.readers[1])
    revisions = await _revisions(running)
    for environment in ("local", "staging"):
        await filled.other.fill(environment, "-more")
    await running.app[FOLLOWER].refresh()
    after = [await reader.all() for reader in filled.readers]
    revisions += await _revisions(running)
    return Seen(
        requests={request.name: request for request in filled.readers[0].requests()},
        before=tuple(before),
        after=tuple(after),
        foreign=foreign,
        revisions=tuple(revisions),
    )


async def _foreign(reader: Reader) -> Mapping[str, tuple[Answer, Answer]]:
    found = {}
    for request in reader.requests(OTHER):
        if OTHER in request.path:
            renamed = replace(request, path=request.path.replace(*_RENAMED))
            found[request.name] = await reader.get(request), await reader.get(renamed)
    return found


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


@pytest.mark.slow
def test_answers_contain_nothing_of_other_keys(seen: Seen) -> None:
    found: dict[str, str] = {}
    for answers in (*seen.before, *seen.after):
        found |= leaks(answers)

    assert not found, _lines(found)


# The console leads on, and it answers any other path. A form may lack a field.
_ANSWERED = {200, 303, 404}
_ANSWERED_FORM = {200, 303, 400, 422}


def test_every_open_route_and_page_answers(seen: Seen) -> None:
    """Otherwise the test of leaks would see errors only."""
    statuses: dict[str, set[int]] = {}
    for answers in seen.before:
        for name, answer in answers.items():
            statuses.setdefault(seen.requests[name].template, set()).add(answer.status)
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


@pytest.mark.slow
def test_answers_do_not_depend_on_other_keys(seen: Seen) -> None:
    differing = {}
    for first, second in zip(seen.before, seen.after, strict=True):
        for name, answer in first.items():
            texts = [comparable(shown, seen.revisions) for shown in (answer, second[name])]
            if not name.startswith(RESTORE) and texts[0] != texts[1]:
                differing[name] = _difference(*texts)

    assert not differing, _lines(differing)


def test_foreign_key_is_refused_whether_it_exists_or_not(seen: Seen) -> None:
    unlike = {}
    for name, (known, unknown) in seen.foreign.items():
        expected = known.text.replace(*_RENAMED).replace(*_QUOTED)
        if not known.status == unknown.status == 403 or expected != unknown.text:
            texts = (known.status, expected), (unknown.status, unknown.text)
            unlike[name] = _difference(*texts)

    assert seen.foreign
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
