"""The example in the help of each command works, and prints what the documentation shows."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli.help import help_text, subcommands
from app.cli.reference import PAGE, commands, outputs_of, page
from app.program import PROGRAM
from tests.paths import ROOT
from tests.process.cli.conftest import NewPerson, Run

EXAMPLES = {
    context.command_path.removeprefix(f"{PROGRAM} "): help_text(context).notes.get("Example", "")
    for context in commands()
    if not any(subcommands(context))
}
# Process tests run `serve`, `relay` and `probe`. `seal decrypt` needs a terminal: test_seal.py has
# one. `database new` writes into the folder of the migrations. `doctor` fails on the fast server of
# the suite.
ELSEWHERE = {"serve", "relay", "probe", "seal decrypt", "database new", "doctor"}
OUTPUTS = outputs_of((ROOT / PAGE).read_text(encoding="utf-8"))
DEFINITION = (
    '{"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",'
    ' "targeting": {"fractional": [["on", 25], ["off", 75]]}}'
)
FLAGS = '{"flags": {"a": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}'
CHANGES = '{"operations": [{"op": "put", "key": "a", "version": 0, "value": 1}]}'
PLAN = (
    '{"name": "launch", "steps": [{"at": "2099-12-01T09:00:00[Europe/Berlin]",'
    ' "rollout": {"variant": "on", "percent": 50}}]}'
)
PLANS = [
    *(f"plan {name}" for name in ("apply-template", "show", "at", "pause", "continue", "skip")),
    *("plan finish", "plan set", "plan return", "delete"),
]
FILES = {
    "plan.json": PLAN,
    "changes.json": CHANGES,
    "definition.json": DEFINITION,
    "flags.flagd.json": FLAGS,
    "beta.csv": "ada\nbob\n",
}
# The last examples that need a key ring, in this order.
_OF_THE_KEY_RING = (
    *(f"backup {name}" for name in ("create", "list", "verify", "restore", "prune", "new-epoch")),
    *("key shred", "audit verify", "audit heads", "audit public-key"),
)


def test_page_equals_the_help() -> None:
    assert page(OUTPUTS) == (ROOT / PAGE).read_text(encoding="utf-8")
    assert OUTPUTS.keys() <= set(EXAMPLES.values())


def _write_files(folder: Path) -> None:
    for file, content in FILES.items():
        (folder / file).write_text(content)


def _store_secret(run: Run, ring: dict[str, str]) -> None:
    words = ("configuration", "set", "local", "password", "-", "--text", "--kind", "secret")
    assert run(*words, stdin="hunter2", **ring).code == 0


def _protect(run: Run) -> None:
    words = ("environment", "update", "development", "--approvals", "1", "--self-approval")
    assert run(*words).code == 0


def _draft(run: Run, folder: Path) -> None:
    (folder / "changes.json").write_text(CHANGES.replace('"a"', '"b"'))
    words = ("proposal", "create", "development", "changes.json", "--title", "A draft", "--draft")
    assert run(*words).code == 0


def _access(example: Callable[[str], str], values: dict[str, str], person: str) -> None:
    values["ID"] = example("token create").split("_")[2]
    for name in ("list", "show", "rotate", "revoke"):
        example(f"token {name}")
    values |= {"ID": person, "person:ID": f"person:{person}"}
    for name in ("list", "show", "suspend", "restore"):
        example(f"person {name}")
    for name in ("create", "set", "list", "show", "delete"):
        example(f"role {name}")
    for name in ("create", "set", "list", "show"):
        example(f"project {name}")
    values["ID"] = example("grant create").partition(":")[0]
    for name in ("grant list", "access who", "access check", "access sign", "grant revoke"):
        example(name)
    example("grant history")
    example("project delete")


@pytest.mark.slow
def test_examples_work_and_print_what_the_page_says(
    run: Run, new_person: NewPerson, tmp_path: Path
) -> None:
    _write_files(tmp_path)
    values: dict[str, str] = {"flagstone": "examples"}
    ran: set[str] = set()

    def example(name: str, stdin: str = "", **more: str) -> str:
        ran.add(name)
        words = shlex.split(EXAMPLES[name].replace("\\\n", "").rpartition(f"{PROGRAM} ")[2])
        result = run(*(values.get(word, word) for word in words), stdin=stdin, **more)
        assert result.code == 0, (name, result)
        expected = re.escape(OUTPUTS.get(EXAMPLES[name], "…")).replace("…", ".*")
        printed = "".join(f"{line.rstrip()}\n" for line in result.output.splitlines())
        assert re.fullmatch(expected, printed, re.DOTALL), (name, printed)
        return result.output

    def examples(group: str, *names: str) -> None:
        for name in names:
            example(f"{group} {name}")

    examples("database", "migrate", "status", "verify", "seed", "provision", "stop")
    examples(
        "configuration",
        "set",
        "get",
        "list",
        "history",
        "diff",
        "revert",
        "restore",
        "promote",
        "export",
        "import",
    )
    examples("flag", "evaluate", "explain", "stale", "lint", "preview")
    examples("environment", "create", "list", "show", "update", "delete")
    examples(
        "flag",
        "create",
        "require",
        "show",
        "target",
        "rollout",
        "disable",
        "enable",
        "list",
        *PLANS,
    )
    examples("list", "upload", "add", "contains", "remove", "export")
    examples("configuration", "apply", "delete")

    _protect(run)
    examples("proposal", "create", "edit", "comment", "list", "show")
    examples("proposal", "approve", "schedule", "apply")
    _draft(run, tmp_path)
    examples("proposal", "submit", "reject", "withdraw")

    example("console link")
    _access(example, values, new_person("asha", "platform"))

    example("seal keygen")
    host = {"IDENTITY_FILE": "identity"}
    values["RECIPIENT"] = example("seal recipients", **host).strip()
    sealed = example("seal encrypt", stdin="postgresql://a@localhost/b", **host)
    (tmp_path / ".env").write_text(f"DATABASE_URL={sealed}")
    example("seal check", **host)
    example("seal rekey", **host)
    (tmp_path / ".env").unlink()

    example("key generate")
    ring = {"KEY_RING_FILE": "key-ring"}
    _store_secret(run, ring)
    values["KEY"] = re.findall(r"\d{8}-\w+", example("key list", **ring))[0]
    example("key export", **ring)
    example("key rotate", **ring)
    second = run("key", "generate", **ring).output.split()[0]
    assert run("key", "rotate", second, **ring).code == 0
    example("key retire", **ring)
    example("key import", **ring)

    for name in _OF_THE_KEY_RING:
        example(name, **ring)
    examples("database", "accept-schema", "trim-access-log", "rollback")
    assert ran == EXAMPLES.keys() - ELSEWHERE
