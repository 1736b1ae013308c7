"""flagd's own evaluator, loaded from `flags.json` like flagd's HTTP sync, gives our outcomes."""

import json
from typing import Any

import msgspec
import pytest

from app.configuration.snapshots.reading import FOLLOWER
from tests.api.flags.flagd import LOCAL, Flagd
from tests.conftest import Service
from tests.factories import flag
from tests.paths import SHARED_DATA

EXAMPLE = SHARED_DATA / "example_flags.flagd.json"
CONTEXTS: list[dict[str, Any]] = [
    {},
    {"targetingKey": "u1", "color": "yellow", "email": "ada@faas.com"},
    {"targetingKey": "u2", "color": "blue", "email": "ada@openfeature.dev"},
    *({"targetingKey": f"user-{n}", "email": f"u{n}@faas.com"} for n in range(20)),
]

needs_example = pytest.mark.skipif(
    not EXAMPLE.exists(), reason="flagd's example flags are not here"
)


async def _evaluate(service: Service, key: str, context: dict[str, Any]) -> Any:
    answer = await service.client.post(
        f"{LOCAL}/ofrep/v1/evaluate/flags/{key}", json={"context": context}
    )
    return await answer.json()


async def _import(service: Service, document: Any) -> None:
    """Import the document without the metadata of the flag set: the environment defines it."""
    answer = await service.client.post(
        f"{LOCAL}/import",
        params={"format": "flagd"},
        json={name: part for name, part in document.items() if name != "metadata"},
    )
    body = await answer.json()
    assert answer.status == 200, body
    await service.app[FOLLOWER].at_least("local", body["revision"])


@needs_example
async def test_flagd_evaluates_its_example_flags_as_we_do(
    service: Service,
) -> None:
    document = json.loads(EXAMPLE.read_text())
    await _import(service, document)
    flagd = Flagd(service)

    statuses = [await flagd.poll(), await flagd.poll()]

    assert statuses == [200, 304]
    different = []
    for key, definition in document["flags"].items():
        sample = next(iter(definition["variants"].values()))
        for context in CONTEXTS:
            ours = {"metadata": {}} | await _evaluate(service, key, context)
            theirs = flagd.evaluate(key, sample, context)
            if ours != theirs:
                different.append((key, context, ours, theirs))
    assert different == []


@needs_example
async def test_flagd_gets_a_change_with_its_next_poll(service: Service) -> None:
    document = json.loads(EXAMPLE.read_text())
    await _import(service, document)
    flagd = Flagd(service)
    await flagd.poll()
    before = flagd.evaluate("isColorYellow", False, {"color": "green"})

    document["flags"]["isColorYellow"]["targeting"] = {"if": [{"var": "color"}, "on", "off"]}
    await _import(service, document)
    status = await flagd.poll()

    after = flagd.evaluate("isColorYellow", False, {"color": "green"})
    assert (before["value"], status, after["value"]) == (False, 200, True)
    assert (
        after["variant"]
        == (await _evaluate(service, "isColorYellow", {"color": "green"}))["variant"]
    )


async def test_flagd_evaluates_flags_that_need_others_as_we_do(service: Service) -> None:
    """The operator and the prerequisites are replaced by the rules of the other flags."""
    by = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}
    split = {"fractional": [by, ["on", 40], ["off", 60]]}
    own = {"fractional": [["on", 1], ["off", 1]]}
    needs = [{"flag": "payments", "variant": "on"}]
    document = {
        "flags": {
            "payments": flag(defaultVariant="off", targeting=split),
            "shop": flag(defaultVariant="on", offVariant="off", prerequisites=needs),
            "cart": flag(defaultVariant="off", targeting={"if": [{"flag": ["shop", "on"]}, "on"]}),
            "name": flag(defaultVariant="off", targeting={"flag": ["cart"]}),
            "own": flag(defaultVariant="off", targeting=own),
            "left": flag(targeting={"if": [{"flag": ["own", "on"]}, "on", "off"]}),
        }
    }
    await _import(service, document)
    flagd = Flagd(service)

    await flagd.poll()
    answer = await service.client.get(f"{LOCAL}/flags.json")
    exported = await service.client.get(f"{LOCAL}/export?format=flagd")

    variants = set()
    for key in ("payments", "shop", "cart", "name", "own"):
        for number in range(50):
            context = {"targetingKey": f"user-{number}"}
            ours = (await _evaluate(service, key, context))["variant"]
            assert flagd.evaluate(key, False, context)["variant"] == ours
            variants.add((key, ours))
    assert len(variants) == 10
    for sent in (answer, exported):
        flags = (await sent.json(content_type=None))["flags"]
        assert flags.keys() == document["flags"].keys() - {"left"}
        assert '"flag":' not in json.dumps(flags)
        assert "prerequisites" not in flags["shop"]
    assert answer.headers["Flagstone-Left-Out"] == "left"


async def test_document_that_failed_is_made_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(msgspec.json, "format", refuse)
    failed = await service.client.get(f"{LOCAL}/flags.json")
    monkeypatch.undo()
    answer = await service.client.get(f"{LOCAL}/flags.json")

    assert (failed.status, answer.status) == (500, 200)
    assert (await answer.json(content_type=None))["flags"] == {}
