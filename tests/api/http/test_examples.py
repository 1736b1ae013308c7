"""Send each example of the OpenAPI document to the service, and compare the answers.

An example starts with the sample data of `make run`, after the examples that it names in `after`.
`VARYING` lists the values that differ between runs: they are compared by their form alone.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from aiohttp import ClientResponse

from app.access import rate_limit
from app.access.people.models import Person
from app.configuration.snapshots.reading import FOLLOWER
from app.flags.handlers import USAGE
from app.health.heartbeat import Heartbeat
from app.http.api_texts import ApiTexts, Example
from app.http.keys import DATABASE, SETTINGS
from app.server.routes import API_TEXTS, describe
from app.server.sample_data import add_test_data
from tests.api.sse import Stream
from tests.conftest import Service
from tests.people import store_person

TEXTS = ApiTexts(API_TEXTS)
FIRST = {example.operation: example for example in reversed(TEXTS.examples)} | {
    f"{example.operation}: {example.title}": example for example in TEXTS.examples
}
# Method and path by operation ID.
OPERATIONS = {
    operation["operationId"]: (method, path)
    for path, operations in describe()["paths"].items()
    for method, operation in operations.items()
}
MISSING = "(missing)"
EVENTS = frozenset({"change", "message", "proposal"})

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TOKEN_ID = "[0-9A-Za-z]{13}"
_SECRET_TEXT = r"[\w=-]+"
_NUMBER = r"\d+(?:\.\d+)?"
# The person of the examples.
PERSON = Person(
    id="8fKc2QwXyZ1Rt",
    issuer="https://login.example.com",
    subject="00u1a2b3",
    name="Asha Patel",
    email="asha@example.com",
    groups=("payments", "staff"),
    first_seen_at=datetime.now(UTC),
    last_seen_at=datetime.now(UTC),
    claims_at=datetime.now(UTC),
    suspended_at=None,
)
# The form of each value that differs between runs, by the name of its property. A later request
# gets the real value of a group in place of that of the example.
VARYING = {
    **dict.fromkeys(
        ("at", "last_at", "created_at", "updated_at", "expires_at", "revoked_at"), _TIME
    ),
    **dict.fromkeys(("first_sign_in_at", "last_sign_in_at", "claims_at", "suspended_at"), _TIME),
    **dict.fromkeys(("last_evaluated_at", "time", "checked_at", "applied_at"), _TIME),
    **dict.fromkeys(("latency_ms", "ageSeconds", "observedValue", "lastModified"), _NUMBER),
    **dict.fromkeys(("hash", "checksum"), "[0-9a-f]{64}"),
    **dict.fromkeys(("duration_ms", "next"), _NUMBER),
    "name": r"\d{13}-\w+",
    "epoch": _UUID,
    "etag": rf"{_UUID}:\d+",
    "id": rf"({_TOKEN_ID})|{_UUID}|(\d+)",
    "proposal": r"\d+",
    "token_id": _TOKEN_ID,
    **dict.fromkeys(("grant", "subject"), _TOKEN_ID),
    "replaced_by": _TOKEN_ID,
    "resource": _TOKEN_ID,
    "text": rf"(fs_srv_{_TOKEN_ID}_{_SECRET_TEXT})",
    "url": rf"http://127\.0\.0\.1:\d+/ofrep/v1/streams/({_SECRET_TEXT})",
    "request_id": "[0-9a-f]{28}",
    **dict.fromkeys(("actor", "author", "approvers", "scheduled_by"), rf"token:{_TOKEN_ID}"),
    "created_by": rf"token:{_TOKEN_ID}",
    **dict.fromkeys(("actor_name", "author_name", "approver_names"), ".+"),
    **dict.fromkeys(("scheduled_by_name", "created_by_name"), ".+"),
    "instance": ".+",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "example",
    [*TEXTS.examples, *TEXTS.errors.values()],
    ids=lambda example: f"{example.operation}-{example.title or example.status}",
)
async def test_example_gets_its_answer(
    service: Service, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_test_data(service.app[SETTINGS], service.app[DATABASE])
    await service.app[FOLLOWER].refresh()
    await service.component(Heartbeat).run_once()
    await store_person(service, PERSON)
    if example.status == 429:
        monkeypatch.setattr(rate_limit, "ATTEMPTS_MAX", 0)

    await Reader(service).play(example)


class Reader:
    """A reader who sends the examples, with the real values of earlier answers."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.values: dict[str, str] = {}

    async def play(self, example: Example) -> None:
        for operation in example.after:
            await self.play(FIRST[operation])
        await self.service.app[USAGE].run_once()
        async with await self.send(example) as response:
            assert response.status == example.status, await response.text()
            if response.content_type == "text/event-stream":
                for operation in example.then:
                    await self.play(FIRST[operation])
                actual: Any = (await Stream(response, EVENTS).next()).data
            else:
                actual = _decoded(response.content_type, await response.text())
        expected = _decoded(response.content_type, example.answer)
        assert list(differences(expected, actual, is_part=example.shows_part)) == []
        if not example.shows_part:
            self.values |= dict(replacements(expected, actual))

    async def send(self, example: Example) -> ClientResponse:
        method, path = OPERATIONS[example.operation]
        body = example.body
        data = body if isinstance(body, str | None) else json.dumps(body)
        headers = {} if data is None else {"Content-Type": "application/json"}
        headers |= {name: self.real(value) for name, value in example.headers.items()}
        url = self.real(path.format(**example.path))
        query = {name: self.real(value) for name, value in example.query.items()}
        return await self.service.client.request(
            method, url, params=query, headers=headers, data=data
        )

    def real(self, text: str) -> str:
        """Replace values of examples, the longest first: the text of a token contains its ID."""
        for value in sorted(self.values, key=len, reverse=True):
            text = text.replace(value, self.values[value])
        return text


def _decoded(content_type: str, body: Any) -> Any:
    if isinstance(body, str) and content_type.endswith("json"):
        return json.loads(body)
    return yaml.safe_load(body) if content_type.endswith("yaml") else body


def differences(
    expected: Any, actual: Any, *, is_part: bool, place: str = "answer"
) -> Iterator[str]:
    """Yield where the answer differs from the example. A part may lack what the answer has."""
    if form := _form(place, expected):
        if not re.fullmatch(form, str(actual)):
            yield f"{place}: {actual!r} does not match {form}"
    elif isinstance(expected, dict) and isinstance(actual, dict):
        for name in sorted(expected.keys() if is_part else expected.keys() | actual.keys()):
            values = expected.get(name, MISSING), actual.get(name, MISSING)
            yield from differences(*values, is_part=is_part, place=f"{place}.{name}")
    elif is_part and isinstance(expected, list | str):
        items = expected.splitlines() if isinstance(expected, str) else expected
        yield from (f"{place}: {x!r} is missing" for x in items if not _has(actual, x, place))
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for number, values in enumerate(zip(expected, actual, strict=True)):
            yield from differences(*values, is_part=False, place=f"{place}[{number}]")
    elif expected != actual:
        yield f"{place}: {actual!r} is not {expected!r}"


def _has(actual: Any, item: Any, place: str) -> bool:
    """Return whether a text has the line, or a list an item like this one."""
    if isinstance(actual, str):
        return item in actual
    return any(not any(differences(item, x, is_part=True, place=place)) for x in actual)


def replacements(expected: Any, actual: Any, place: str = "answer") -> Iterator[tuple[str, str]]:
    """Yield each value of the example that a later request repeats, with the real one."""
    if form := _form(place, expected):
        pairs = (re.fullmatch(form, str(value)) for value in (expected, actual))
        groups = [match.groups() for match in pairs if match]
        yield from ((old, new) for old, new in zip(*groups, strict=True) if old is not None)
    elif isinstance(expected, dict):
        for name, value in expected.items():
            yield from replacements(value, actual[name], f"{place}.{name}")
    elif isinstance(expected, list):
        for item, other in zip(expected, actual, strict=True):
            yield from replacements(item, other, place)


def _form(place: str, expected: Any) -> str | None:
    """Return the form of a value that differs between runs, if the example has that form."""
    form = VARYING.get(re.sub(r"\[\d+\]$", "", place).rpartition(".")[2])
    is_varying = isinstance(expected, str | int | float) and form is not None
    return form if is_varying and re.fullmatch(str(form), str(expected)) else None
