"""The recipes of the documentation import as they are, and give the outcomes that the page shows.

Beside each flagd document `docs/recipes/NAME.json` is `NAME.cases.json`: outcomes for contexts, and
the shares in percent that a split gives. The page shows both.
"""

import asyncio
import json
import time
from datetime import datetime
from typing import Any

import pytest

from tests.api.flags.flagd import LOCAL, Flagd
from tests.conftest import Service
from tests.paths import ROOT

PAGE = ROOT / "docs/recipes.md"
FOLDER = ROOT / "docs/recipes"
NAMES = sorted(path.name.removesuffix(".cases.json") for path in FOLDER.glob("*.cases.json"))
KEYS = [f"user-{number}" for number in range(2_000)]

Variants = dict[str, dict[str, str]]


def _read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


async def _import(service: Service, document: Any) -> None:
    answer = await service.client.post(f"{LOCAL}/import", json=document)
    body = await answer.json()
    assert (answer.status, body["warnings"]) == (200, [])


async def _evaluate(service: Service, key: str, context: Any) -> Any:
    url = f"{LOCAL}/ofrep/v1/evaluate/flags/{key}"
    answer = await service.client.post(url, json={"context": context})
    return await answer.json()


async def _variants(service: Service) -> Variants:
    """Return the variant of each flag for each key, by key and flag."""

    async def of_key(key: str) -> dict[str, str]:
        context = {"targetingKey": key}
        answer = await service.client.post(
            f"{LOCAL}/ofrep/v1/evaluate/flags", json={"context": context}
        )
        return {flag["key"]: flag["variant"] for flag in (await answer.json())["flags"]}

    return dict(zip(KEYS, await asyncio.gather(*map(of_key, KEYS)), strict=True))


def _keys(variants: Variants, flag: str, variant: str) -> set[str]:
    return {key for key, flags in variants.items() if flags[flag] == variant}


def test_every_recipe_has_cases() -> None:
    documents = {path.stem for path in FOLDER.glob("*.json") if ".cases" not in path.name}

    assert documents == set(NAMES)
    assert len(NAMES) == 10


def _table(cases: list[dict[str, Any]]) -> str:
    """Return the cases as a Markdown table, without the columns that say nothing."""
    columns = ["at", "flag", "context", "variant", "value", "reason"]
    if len({case["flag"] for case in cases}) == 1:
        columns.remove("flag")
    if all(isinstance(case["value"], bool) for case in cases):
        columns.remove("value")
    columns.remove("context" if "at" in cases[0] else "at")
    lines = [columns, ["---"] * len(columns)]
    for case in cases:
        texts = [
            cell if isinstance(cell, str) else json.dumps(cell)
            for cell in (case[column] for column in columns)
        ]
        lines.append([f"`{text}`" for text in texts])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


@pytest.mark.parametrize("name", NAMES)
def test_page_shows_recipe_and_its_cases(name: str) -> None:
    text = PAGE.read_text()
    _, found, rest = text.partition(f'```json\n--8<-- "docs/recipes/{name}.json"\n```\n\n')

    claims = _read(f"{name}.cases.json")

    assert found
    assert rest.startswith(_table(claims["cases"]))
    section = text[: -len(rest)].rpartition("\n## ")[2] + rest.partition("\n## ")[0]
    for shares in claims.get("shares", {}).values():
        assert any(f"{percent} %" in section for percent in shares.values())


@pytest.mark.parametrize("name", NAMES)
async def test_recipe_gives_its_outcomes_here_and_in_flagd(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await _import(service, _read(f"{name}.json"))
    flagd = Flagd(service)
    await flagd.poll()
    wrong = []

    for case in _read(f"{name}.cases.json")["cases"]:
        if "at" in case:
            seconds = datetime.fromisoformat(case["at"]).timestamp()
            monkeypatch.setattr(time, "time", lambda seconds=seconds: seconds)
        here = await _evaluate(service, case["flag"], case["context"])
        there = flagd.evaluate(case["flag"], case["value"], case["context"])
        monkeypatch.undo()
        wrong += [
            (case, outcome)
            for outcome in (here, there)
            if any(outcome.get(name) != case[name] for name in ("variant", "value", "reason"))
        ]

    assert wrong == []


async def _import_and_split(service: Service, name: str) -> Variants:
    """Import a recipe, compare its shares with its claims, and its variants with flagd's."""
    await _import(service, _read(f"{name}.json"))
    flagd = Flagd(service)
    await flagd.poll()
    variants = await _variants(service)
    shares = _read(f"{name}.cases.json")["shares"]
    for flag, claimed in shares.items():
        percents = {
            variant: 100 * len(_keys(variants, flag, variant)) / len(KEYS) for variant in claimed
        }
        assert percents == pytest.approx(claimed, abs=2)
        in_flagd = {
            key: flagd.evaluate(flag, False, {"targetingKey": key})["variant"] for key in KEYS
        }
        assert in_flagd == {key: flags[flag] for key, flags in variants.items()}
    return variants


@pytest.mark.slow
async def test_larger_percentage_includes_the_same_keys(service: Service) -> None:
    before = _keys(await _import_and_split(service, "percentage"), "new-cart", "on")

    document = _read("percentage.json")
    document["flags"]["new-cart"]["targeting"] = {"fractional": [["on", 30], ["off", 70]]}
    await _import(service, document)

    after = _keys(await _variants(service), "new-cart", "on")
    assert before < after
    assert len(after) == pytest.approx(0.3 * len(KEYS), abs=0.02 * len(KEYS))


@pytest.mark.slow
async def test_holdout_excludes_keys_from_all_its_flags(service: Service) -> None:
    variants = await _import_and_split(service, "holdout")

    held_out = _keys(variants, "one-click-pay", "off")
    assert held_out < _keys(variants, "new-ranking", "off")


@pytest.mark.parametrize(
    ("role", "broken"), [("admin", []), ("support", ["customer-export.guards[0]"])]
)
async def test_guard_recipe_refuses_a_rule_without_admins(
    service: Service, role: str, broken: list[str]
) -> None:
    document = _read("guard.json")
    document["flags"]["customer-export"]["targeting"] = {
        "if": [{"==": [{"var": "role"}, role]}, "on"]
    }

    answer = await service.client.post(f"{LOCAL}/import", json=document)

    body = await answer.json()
    assert [error["field"] for error in body.get("errors", [])] == broken
