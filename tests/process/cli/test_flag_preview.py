"""`flag preview` says who changes, and why a definition would be refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.factories import flag
from tests.process.cli.conftest import Run


def _draft(**members: Any) -> str:
    rule = {"fractional": [["on", 50], ["off", 50]]}
    return json.dumps(flag(defaultVariant="off", targeting=rule, **members))


@pytest.mark.slow
def test_flag_preview_shows_table_contexts_and_guards(run: Run, tmp_path: Path) -> None:
    assert run("flag", "create", "local", "search").code == 0
    guards = [
        {"name": "ada", "context": {"targetingKey": "ada"}, "variant": "on"},
        {"context": {}, "variant": "off"},
    ]
    (tmp_path / "search.json").write_text(_draft(guards=guards))
    context = '{"targetingKey": "ada"}'

    result = run("flag", "preview", "local", "search", "search.json", "--context", context)

    title, headings, row, ada, *holding = result.output.splitlines()
    changed = int(title.split()[-2].replace(",", ""))
    assert title == f"search: of 10,000 keys, {changed:,} change"
    assert headings.split() == ["now", "→", "off", "→", "on"]
    assert row.split() == ["off", str(10_000 - changed), str(changed)]
    variant = ada.rpartition(" ")[2] if "→" in ada else "off"
    is_on = variant == "on"
    assert holding[0].startswith(f"guard ada: {'holds' if is_on else 'broken'}")
    assert holding[1] == "guard number 2: holds, off"
    assert result.code == (0 if is_on else 1)
    assert run("flag", "evaluate", "local", "search").output.count('"off"') == 1


def test_flag_preview_takes_a_body_of_a_write_and_json(run: Run) -> None:
    assert run("flag", "create", "local", "search").code == 0
    body = json.dumps({"message": "x", "kind": "flag", "value": json.loads(_draft())})

    as_text = run("flag", "preview", "local", "search", body)
    from_stdin = run("flag", "preview", "local", "search", "-", "--json", stdin=_draft())

    assert (as_text.code, from_stdin.code) == (0, 0)
    changed = json.loads(from_stdin.output)["flags"][0]["sample"]["changed"]
    assert as_text.output.startswith(f"search: of 10,000 keys, {changed:,} change\n")


def test_flag_preview_says_why_a_draft_is_refused(run: Run) -> None:
    assert run("flag", "create", "local", "search").code == 0
    deletion = run("flag", "preview", "local", "search", "--delete")
    assert deletion.output.splitlines()[1:] == ["now  → no flag", "off      10000"]

    for words, code, text in (
        (("new", '{"variants": 1}'), 1, "would be refused: value.state must be ENABLED or"),
        (("gone", "--delete"), 1, "would be refused: There is no such configuration."),
        (("search",), 1, "definition: must be given, or --delete, and not both"),
        (("search", "{"), 1, "definition: must be JSON"),
        (("search", "missing.json"), 1, "missing.json: no such file"),
        (("search", "{}", "--context", "3"), 1, "--context: must be a JSON object"),
    ):
        result = run("flag", "preview", "local", *words)
        assert (result.code, text in result.output + result.errors) == (code, True), result
