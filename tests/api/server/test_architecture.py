"""docs/architecture.md names existing files and functions, and its walks match real requests."""

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

import pytest

from app import log
from tests.conftest import Service
from tests.paths import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
_STEP = re.compile(r"^(\d+)\. `([^`]+\.py)` `([^`]+)`: ", re.MULTILINE)
_PUT_STEPS_MAX = 20

Step = tuple[str, str]


def _walk(title: str) -> list[Step]:
    """Return the module and the name of each step below a heading."""
    section = PAGE.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]
    steps = _STEP.findall(section)
    numbered = re.findall(r"^(\d+)\. ", section, re.MULTILINE)
    assert [number for number, *_ in steps] == numbered == [str(n + 1) for n in range(len(steps))]
    return [(path, name) for _, path, name in steps]


PUT, EVALUATION, HEARTBEAT, RELAY = map(
    _walk, ("A write", "An evaluation", "A heartbeat", "A change at a relay")
)


def _names(path: str) -> set[str]:
    """Return the functions, classes and methods of a module."""
    names = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{member.name}"
                for member in node.body
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
    return names


@pytest.mark.parametrize(("path", "name"), sorted({*PUT, *EVALUATION, *HEARTBEAT, *RELAY}))
def test_step_names_a_function_that_exists(path: str, name: str) -> None:
    assert name in _names(path)


def test_map_lists_every_folder_of_app() -> None:
    folders = {
        f"app/{path.name}/" for path in (ROOT / "app").iterdir() if (path / "__init__.py").exists()
    }
    assert set(re.findall(r"^\| `(app/\w+/)` \|", PAGE, re.MULTILINE)) == folders


def test_other_paths_of_the_page_exist() -> None:
    assert all((ROOT / path).exists() for path in re.findall(r"`((?:app|sql)/[\w/.]*)`", PAGE))


def test_put_takes_at_most_20_steps() -> None:
    assert len(PUT) <= _PUT_STEPS_MAX


@contextmanager
def _recorded() -> Iterator[list[Step]]:
    """Record the functions of app/ that a request calls, in the order of their first calls.

    The request has the id "walk", which keeps the calls of background tasks out.
    """
    steps: dict[CodeType, Step] = {}

    def record(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code not in steps and f"{ROOT}/app/" in code.co_filename:
            path = code.co_filename.removeprefix(f"{ROOT}/")
            # A decorator and the handler that it returns are one step.
            step = path, code.co_qualname.split(".<locals>")[0]
            # The first step sets the ID of the request.
            if step == PUT[0] or log.REQUEST_ID.get("") == "walk":
                steps[code] = step

    called: list[Step] = []
    outer = sys.getprofile()
    sys.setprofile(record)
    try:
        yield called
    finally:
        sys.setprofile(outer)
        called += dict.fromkeys(steps.values())


async def test_put_runs_through_its_steps_in_order(service: Service) -> None:
    path = "/v1/environments/local/configurations/greeting"
    headers = {"If-None-Match": "*", "Idempotency-Key": "walk", "X-Request-ID": "walk"}
    with _recorded() as called:
        answer = await service.client.put(path, json={"value": "hello"}, headers=headers)

    assert answer.status == 201, await answer.text()
    assert [step for step in called if step in PUT] == PUT


async def test_evaluation_runs_through_its_steps_in_order(service: Service) -> None:
    path = "/v1/environments/local/ofrep/v1/evaluate/flags/new-checkout"
    flag = {"variants": {"on": True}, "defaultVariant": "on", "state": "ENABLED"}
    entry = "/v1/environments/local/configurations/new-checkout"
    headers = {"If-None-Match": "*"}
    await service.client.put(entry, json={"kind": "flag", "value": flag}, headers=headers)
    with _recorded() as called:
        # A connection that closes is answered the ordinary way.
        ordinary = {"X-Request-ID": "walk", "Connection": "close"}
        answer = await service.client.post(path, json={"context": {}}, headers=ordinary)

    assert answer.status == 200, await answer.text()
    assert [step for step in called if step in EVALUATION] == EVALUATION
