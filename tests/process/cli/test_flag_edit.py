"""The commands of `flag` change flags without the text of a definition."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.process.cli.conftest import Run


@pytest.mark.slow
def test_flag_is_targeted_rolled_out_and_switched(run: Run) -> None:
    def flag(command: str, *words: str) -> Any:
        result = run("flag", command, "local", *words)
        return result.output.splitlines() if result.code == 0 else result.errors.strip()

    def variant(**context: str) -> Any:
        result = run("flag", "evaluate", "local", "search", "--context", json.dumps(context))
        return json.loads(result.output)["variant"]

    assert flag("create", "search")[1:] == ["  off for all"]
    assert flag("enable", "search")[1:] == ["  on for all"]
    assert flag("disable", "search")[1:] == ["  off for all"]
    flag("target", "search", "--if", "plan = pro", "--if", "country in DE,AT")
    flag("target", "search", "--if", "id = 7", "--variant", "off", "--first")
    rules = [
        "  off if id is 7",
        "  on if plan is pro and country is one of DE, AT",
        "  12.5 % on, 87.5 % off by company for all others",
    ]
    assert flag("rollout", "search", "12.5%", "--by", "company")[1:] == rules
    assert variant(plan="pro", country="AT") == "on"
    assert flag("disable", "search", "-m", "Search is slow")[1:] == ["  off for all"]
    assert variant(plan="pro", country="AT") == "off"
    assert "Run `flag enable` first" in flag("rollout", "search", "5")
    assert flag("enable", "search")[1:] == rules
    assert flag("show", "search") == [line.strip() for line in rules]

    assert flag("enable", "search") == ["local/search is unchanged", *rules]
    assert flag("target", "search", "--if", "id = 7", "--variant", "off")[1:] == rules

    assert flag("create", "theme", "--variants", "plain, blue,green")[1:] == ["  plain for all"]
    lines = ["  10 % green, 90 % plain by targetingKey for all"]
    assert flag("rollout", "theme", "10", "--variant", "green")[1:] == lines

    history = run("configuration", "history", "local", "search").output
    assert "Search is slow" in history
    assert "Switched off:" in history
    assert "Switched on" in history
    assert "{" not in history
    assert run("configuration", "set", "local", "size", "1").code == 0
    retyped = run("configuration", "set", "local", "size", "2", "--kind", "flag")
    assert "--kind: cannot change: this entry is a setting" in retyped.errors
    looks_like = run("configuration", "set", "local", "f", '{"state": "ENABLED", "variants": {}}')
    assert "looks like a flag" in looks_like.errors
    version = flag("show", "search"), run("configuration", "get", "local", "search").output
    for words, error in (
        (("create", "search"), "key: must be new"),
        (("rollout", "search", "120"), "percent: must be between 0 and 100"),
        (("rollout", "search", "many"), "percent: must be a number"),
        (("rollout", "search", "1", "--variant", "blue"), "variant: must be one of on, off"),
        (("target", "search", "--if", "plan is pro"), "did you mean =?"),
        (("target", "search", "--if", "segment missing"), "which is no segment"),
        (("target", "search", "--if", "app version>= 2"), "must be a full version"),
        (("disable", "missing"), "There is no flag missing in local. Run `python -m app"),
        (("enable", "size"), "must be a flag, but this entry is a setting"),
    ):
        assert error in flag(*words), words
    assert version == (
        flag("show", "search"),
        run("configuration", "get", "local", "search").output,
    )


@pytest.mark.slow
def test_switching_keeps_what_else_the_flag_has(run: Run) -> None:
    def flag(command: str, *words: str) -> Any:
        result = run("flag", command, "local", "menu", *words)
        assert result.code == 0, result
        return result.output.splitlines()[1:]

    def store(**changes: Any) -> None:
        stored = json.loads(run("configuration", "get", "local", "menu").output)["value"]
        value = json.dumps(stored | changes)
        assert run("configuration", "set", "local", "menu", value).code == 0

    flag("create")
    rolled_out = flag("rollout", "20")
    # A share alone is no rule that could be lost.
    assert flag("rollout", "0") == ["  off for all"]
    assert flag("rollout", "20") == rolled_out
    flag("disable")
    store(owner="shop")
    assert flag("enable") == rolled_out
    store(state="DISABLED")
    assert flag("show") == []
    assert flag("enable") == rolled_out
    assert flag("enable", "--variant", "on") == ["  on for all"]
    stored = json.loads(run("configuration", "get", "local", "menu").output)["value"]
    assert (stored["owner"], stored["state"]) == ("shop", "ENABLED")


def test_flag_of_a_lenient_import_is_refused_in_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"flags": {"broken": {"state": "ENABLED"}}}')
    imported = run("configuration", "import", "local", "broken.json", "--lenient")
    assert imported.code == 0, imported

    for command in (("rollout", "local", "broken", "5"), ("disable", "local", "broken")):
        result = run("flag", *command)
        assert (result.code, result.errors.count("\n")) == (1, 1), result
        assert "cannot be edited: variants: must be an object" in result.errors
    assert run("flag", "show", "local", "broken").code == 0


@pytest.mark.slow
def test_flag_gets_and_loses_prerequisites(run: Run) -> None:
    def flag(command: str, *words: str) -> Any:
        result = run("flag", command, "local", *words)
        return result.output.splitlines() if result.code == 0 else result.errors.strip()

    flag("create", "payments")
    flag("create", "shop")
    flag("enable", "shop")

    lines = flag("require", "shop", "payments", "--otherwise", "off")
    assert lines[1:] == ["  off unless payments gives on", "  on for all"]
    assert flag("show", "shop") == ["off unless payments gives on", "on for all"]
    explained = run("flag", "explain", "local", "shop").output
    assert 'reason "PREREQUISITE_FAILED", variant "off"' in explained
    assert "payments gives off, reason STATIC" in explained
    assert "needs the variant on of payments" in run("flag", "delete", "local", "payments").errors
    assert "needs the variant x" in flag("require", "shop", "payments", "--variant", "x")
    assert "in a circle" in flag("require", "payments", "shop")
    assert "does not need other" in flag("require", "shop", "other", "--remove")
    assert flag("require", "shop", "payments", "--remove")[1:] == ["  on for all"]
    target = flag("target", "shop", "--if", "flag payments on", "--variant", "off")
    assert target[1:] == ["  off if payments gives on", "  on for all others"]
