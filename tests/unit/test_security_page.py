"""docs/security.md names tests that exist."""

import ast
import re
from functools import cache

from tests.paths import ROOT

_ROW = re.compile(r"\| [0-9]+\.[0-9]+\.[0-9]+[^|]*\|.*\|")
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
# Their subject is the documentation itself.
_DOCUMENTED = ("7.1.1", "8.1.1")


def _rows() -> list[str]:
    text = (ROOT / "docs/security.md").read_text()
    return [line for line in text.splitlines() if _ROW.fullmatch(line)]


@cache
def _tests(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def test_requirements_name_existing_tests() -> None:
    named = [found for row in _rows() for found in _TEST.findall(row)]

    assert len(named) > 50
    assert [f"{file}::{name}" for file, name in named if name not in _tests(file)] == []


def test_each_requirement_has_a_test() -> None:
    without = [row.split()[1].rstrip(",") for row in _rows() if not _TEST.search(row)]

    assert tuple(without) == _DOCUMENTED
