"""Reads of the past equal a naive model, for generated histories.

Keys are deleted, and created again with the same kind or another one.
"""

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import Service
from tests.factories import flag

LOCAL = "/v1/environments/local"

# They differ in the characters that sort before and after a slash, and some are prefixes of others.
KEYS = ["A", "_x", "a", "a-b", "a.b", "a/b", "a/b/c", "ab", "a0", "b", "z/9", "zz"]
PREFIXES = ["", "a", "a/", "a/b", "z", "zz", "zzz", "~", "é"]
REVISIONS = 40

State = dict[str, dict[str, Any]]


@dataclass
class Model:
    """Every state of an environment, by revision, and the versions that keys had last."""

    states: list[State] = field(default_factory=lambda: [{}])
    last_versions: dict[str, int] = field(default_factory=dict)

    def operations(self, choices: random.Random) -> list[dict[str, Any]]:
        """Return the operations of the next revision, and store its state."""
        revision, state = len(self.states), dict(self.states[-1])
        operations = []
        for key in choices.sample(KEYS, choices.randint(1, 4)):
            old = state.get(key)
            version = old["version"] if old else 0
            if old and choices.random() < 0.4:
                operations.append({"op": "delete", "key": key, "version": version})
                del state[key]
                continue
            kind = old["kind"] if old else choices.choice(["setting", "flag"])
            number = choices.randint(1, 3)
            value = number if kind == "setting" else flag(metadata={"number": number})
            put = {"op": "put", "key": key, "kind": kind, "value": value, "version": version}
            operations.append(put)
            self.last_versions[key] = self.last_versions.get(key, 0) + 1
            state[key] = {
                "kind": kind,
                "value": value,
                "version": self.last_versions[key],
                "updated_revision": revision,
                "created_revision": old["created_revision"] if old else revision,
            }
        self.states.append(state)
        return operations

    def difference(self, before: int, after: int) -> dict[str, tuple[Any, Any]]:
        """Return the content of each key that differs, before and after."""
        left, right = (
            {key: (entry["kind"], entry["value"]) for key, entry in self.states[revision].items()}
            for revision in (before, after)
        )
        pairs = {key: (left.get(key), right.get(key)) for key in sorted(left.keys() | right.keys())}
        return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


@dataclass(frozen=True)
class Past:
    """The model of a history that the service has too."""

    model: Model
    created_at: list[str]


@pytest.fixture(params=[1, 2])
def choices(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.param)  # noqa: S311 - the test repeats its choices


@pytest.fixture(params=["each change is read", "each key is looked up"])
def _searches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search for changed keys in both ways, in pages of 3 keys."""
    if request.param == "each key is looked up":
        monkeypatch.setattr("app.configuration.changes.past.NEAR_REVISIONS", 0)
    monkeypatch.setattr("app.configuration.changes.past.KEYS_AT_ONCE", 3)


@pytest.fixture
async def past(service: Service, choices: random.Random) -> Past:
    model = Model()
    for _ in range(REVISIONS):
        body = {"operations": model.operations(choices)}
        async with service.client.post(LOCAL + "/changes", json=body) as answer:
            assert answer.status == 200, await answer.text()
    change_sets = (await _get(service, LOCAL + "/changes", limit=REVISIONS))["items"]
    assert len(change_sets) == REVISIONS
    return Past(model, ["", *(change_set["created_at"] for change_set in reversed(change_sets))])


async def _get(service: Service, path: str, **query: object) -> Any:
    async with service.client.get(path, params={k: str(v) for k, v in query.items()}) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def _pages(service: Service, path: str, items: str, **query: object) -> list[Any]:
    """Return the items of all pages. Only the last page may be empty."""
    found: list[Any] = []
    for _ in range(len(KEYS) + 1):
        page = await _get(service, path, **query)
        found += page[items]
        if page["next"] is None:
            return found
        assert page[items]
        query["after"] = page["next"]
    raise AssertionError("the pages do not end")


async def test_lists_of_the_past_equal_the_model(
    service: Service, past: Past, choices: random.Random
) -> None:
    for revision, state in enumerate(past.model.states):
        prefix, kind = choices.choice(PREFIXES), choices.choice(["", "flag", "setting", "secret"])
        filters = {"prefix": prefix} | ({"kind": kind} if kind else {})
        limit = choices.randint(1, 5)

        items = await _pages(
            service, LOCAL + "/configurations", "items", revision=revision, limit=limit, **filters
        )

        expected = sorted(
            key
            for key, entry in state.items()
            if key.startswith(prefix) and kind in {"", entry["kind"]}
        )
        assert [item["key"] for item in items] == expected, (revision, filters)
        for item in items:
            _assert_is(item, state[item["key"]], past)


def _assert_is(item: dict[str, Any], expected: dict[str, Any], past: Past) -> None:
    names = ("kind", "value", "version", "updated_revision")
    assert {name: item[name] for name in names} == {name: expected[name] for name in names}
    assert item["updated_at"] == past.created_at[expected["updated_revision"]]
    assert item["created_at"] == past.created_at[expected["created_revision"]]


@pytest.mark.slow
async def test_entries_and_exports_of_the_past_equal_the_model(
    service: Service, past: Past, choices: random.Random
) -> None:
    for revision, state in enumerate(past.model.states):
        moment: dict[str, Any] = {"revision": revision}
        if revision and choices.random() < 0.5:
            moment = {"at": datetime.fromisoformat(past.created_at[revision]).isoformat()}
        key = choices.choice(KEYS)

        async with service.client.get(f"{LOCAL}/configurations/{key}", params=moment) as answer:
            item, status = await answer.json(content_type=None), answer.status
        exported = await _get(service, LOCAL + "/export", **moment)

        assert (status == 200) == (key in state), (revision, key)
        if key in state:
            _assert_is(item, state[key], past)
        values = {key: entry["value"] for key, entry in exported["entries"].items()}
        assert values == {key: entry["value"] for key, entry in state.items()}
        assert list(values) == sorted(values)


@pytest.mark.slow
@pytest.mark.usefixtures("_searches")
async def test_differences_of_the_past_equal_the_model(
    service: Service, past: Past, choices: random.Random
) -> None:
    for _ in range(REVISIONS):
        before, after = choices.randint(0, REVISIONS), choices.randint(0, REVISIONS)
        query = {"from": before, "to": after, "limit": choices.randint(1, 4)}

        changes = await _pages(service, LOCAL + "/diff", "changes", **query)

        pairs = {
            change["key"]: tuple(
                (side["kind"], side["value"]) if (side := change[name]) else None
                for name in ("before", "after")
            )
            for change in changes
        }
        assert pairs == past.model.difference(before, after), (before, after)
        assert list(pairs) == sorted(pairs)


@pytest.mark.slow
@pytest.mark.usefixtures("_searches")
async def test_restores_of_the_past_equal_the_model(
    service: Service, past: Past, choices: random.Random
) -> None:
    for revision in choices.sample(range(REVISIONS + 1), 12):
        async with service.client.post(
            LOCAL + "/restore?dry_run=true", json={"revision": revision}
        ) as answer:
            assert answer.status == 200, await answer.text()
            change_sets = (await answer.json())["change_sets"]

        changed = [change["key"] for change_set in change_sets for change in change_set["changes"]]
        assert changed == list(past.model.difference(REVISIONS, revision)), revision
