"""JSON Schemas: unsupported parts, linear checks, and the checker processes."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from app.configuration.changes.content_checks import are_quick
from app.configuration.changes.models import Content, Kind
from app.configuration.json_schema import pool
from app.configuration.json_schema import process as one_process
from app.configuration.json_schema.checker import frame_of, serve
from app.configuration.json_schema.pool import Checkers, RequestCheck, linear_steps
from app.configuration.json_schema.process import TooCostlyError
from app.configuration.json_schema.validation import VIOLATIONS_MAX, CheckResult, check
from app.errors import Unavailable
from tests.factories import COSTLY_SCHEMA
from tests.waiting import HANG_SECONDS

# Not linear, so that a process is needed.
DATE = {"type": "string", "format": "date"}
TREE = {
    "properties": {"n": {"type": "integer"}, "children": {"items": {"$ref": "#"}}},
    "required": ["n"],
}
# Each pattern is within its limit. Together they need half a gigabyte.
LARGE_PATTERNS = {
    "properties": {f"p{n}": {"pattern": rf"(?i)\p{{L}}{{15}}{n}"} for n in range(900)}
}
OURS_TO_END = 30


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit checks by their processor time alone, whatever else the machine does."""
    monkeypatch.setattr(pool, "WALL_SECONDS", HANG_SECONDS)


@pytest.fixture(scope="module")
def checkers() -> Iterator[Checkers]:
    with closing(Checkers(cpu_seconds=0.2)) as opened:
        yield opened


def _verdict(checkers: Checkers, schema: Any, value: Any) -> CheckResult:
    with checkers.request() as request:
        return request.verdict(schema, value)


def _pid(checkers: Checkers) -> int:
    _verdict(checkers, DATE, "2026-01-31")
    process = checkers.acquire()
    checkers.release(process)
    return process.pid


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def _running(processes: Collection[psutil.Process]) -> list[psutil.Process]:
    """Return those that run on after their kill. The kernel may take a moment to end a process."""
    _, alive = psutil.wait_procs(processes, timeout=OURS_TO_END)
    return list(alive)


# Validation


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"items": {"$id": "a"}}, "schema.items.$id"),
        ({"properties": {"a.b": {"$id": "a"}}}, "schema.properties.a.b.$id"),
        ({"unknown": [{"$id": "a"}]}, "schema.unknown[0].$id"),
        (
            {"$schema": "http://json-schema.org/draft-04/schema#", "items": {"id": "a"}},
            "schema.items.id",
        ),
        ({"$anchor": "a"}, "schema.$anchor"),
        ({"$defs": {"a": {"$dynamicAnchor": "a"}}}, "schema.$defs.a.$dynamicAnchor"),
        ({"not": {"$recursiveRef": "#"}}, "schema.not.$recursiveRef"),
        ({"$ref": "#a"}, "schema.$ref"),
        ({"$ref": "other.json"}, "schema.$ref"),
        ({"allOf": [{"$ref": "#/allOf/0"}]}, "schema.allOf[0].$ref"),
        ({"dependentSchemas": {"a": {"$ref": "#"}}}, "schema.dependentSchemas.a.$ref"),
        ({"not": {"anyOf": [True, {"$ref": "#/not"}]}}, "schema.not.anyOf[1].$ref"),
        ({"items": {"$ref": "#/items/a/0"}}, "schema"),
        ({"minimum": "1"}, "schema.minimum"),
        ({"$schema": "http://a.example/b"}, "schema"),
        ({"patternProperties": {"(": True}}, "schema.patternProperties.("),
    ],
)
def test_schema_unsupported_part_is_named(schema: Any, field: str) -> None:
    verdict = check(schema, 1)

    assert verdict.refused is not None
    assert verdict.refused[0] == field
    assert verdict.broken == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$id": "http://a.example/b", "$ref": "#/$defs/a", "$defs": {"a": {}}},
        {"properties": {"$id": {}, "$anchor": {}, "$ref": {"type": "string"}}},
        {"const": {"$id": "a"}, "not": {"enum": [{"$ref": "b"}]}},
        {"items": {"id": "a"}},
        {"allOf": [{"$ref": "#/$defs/a~1b/allOf/0"}], "$defs": {"a/b": {"allOf": [{}]}}},
        TREE,
    ],
)
def test_schema_supported_parts_are_accepted(schema: Any) -> None:
    value = {"$id": "a"} if "const" in schema else {"n": 1}

    assert check(schema, value) == CheckResult()


def test_tree_schema_finds_deep_violation() -> None:
    verdict = check(TREE, {"n": 1, "children": [{"n": 2, "children": [{"n": "x"}]}]})

    assert [field for field, _ in verdict.broken] == ["value.children[0].children[0].n"]


@pytest.mark.parametrize("keyword", ["const", "enum", "required"])
def test_violations_of_long_texts_are_not_collected(keyword: str) -> None:
    """Each error repeats the text: 480 errors took 345 MB."""
    text = "x" * 100_000
    schema = {"items": {keyword: text if keyword == "const" else [text]}}

    assert len(check(schema, [{}] * 480).broken) == 1


def test_violations_are_few_and_short() -> None:
    schema = {"items": {"enum": ["x" * 1_000]}}

    few = check(schema, [1] * 100)
    first = check(schema, [1] * 10_000)

    assert (len(few.broken), len(first.broken)) == (VIOLATIONS_MAX, 1)
    assert all(len(rule) <= 300 for _, rule in few.broken)


# Linear


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {}}},
        {"items": {"pattern": "a"}},
        {"patternProperties": {"a": {}}},
        {"properties": {"a": {"anyOf": [{}]}}},
        {"additionalProperties": {"not": {}}},
        {"format": "date"},
        {"uniqueItems": True},
        {"multipleOf": 1e-300},
        {"contains": {}},
        {"unknown": 1},
        {"items": [{}]},
        {"enum": list(range(2_000))},
    ],
)
def test_linear_steps_other_schema_is_none(schema: Any) -> None:
    assert linear_steps(schema, 1) is None


def test_linear_steps_grow_with_schema_and_value() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}

    small, large = (linear_steps(schema, {"a": [1] * count}) for count in (1, 1_000))

    assert small is not None
    assert large is not None
    assert 0 < small < large


@pytest.mark.parametrize(
    ("schema", "value", "is_quick"),
    [
        (None, 1, True),
        ({"type": "integer"}, 1, True),
        (DATE, "x", False),
        (None, [1] * 2_000, False),
        ({"enum": list(range(400))}, [1] * 400, False),
    ],
)
def test_quick_contents_are_small_and_linear(schema: Any, value: Any, *, is_quick: bool) -> None:
    assert are_quick([Content(kind=Kind.SETTING, value=value, schema=schema)]) is is_quick


# Processes


@pytest.mark.slow
@pytest.mark.parametrize("schema", [COSTLY_SCHEMA, LARGE_PATTERNS], ids=["time", "memory"])
def test_costly_schema_ends_its_process_alone(schema: Any) -> None:
    # Enough time to reach the memory limit first.
    with closing(Checkers(cpu_seconds=0.2 if schema is COSTLY_SCHEMA else 20)) as checkers:
        with checkers.request() as request:
            with pytest.raises(TooCostlyError):
                request.verdict(schema, 1)
            with pytest.raises(TooCostlyError):
                request.verdict(DATE, "x")

        assert _verdict(checkers, {"type": "string", "pattern": "^a"}, "b").broken


def test_process_answers_as_this_one_does(checkers: Checkers) -> None:
    for schema, value in ((DATE, 1), (TREE, {"n": "x"}), ({"$ref": "a"}, 1), (DATE, "2026")):
        assert _verdict(checkers, schema, value) == check(schema, value)


def test_process_is_used_again(checkers: Checkers) -> None:
    assert _pid(checkers) == _pid(checkers)


def test_process_that_has_grown_is_replaced(
    checkers: Checkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _pid(checkers)
    monkeypatch.setattr(one_process, "IDLE_BYTES_MAX", 0)
    _verdict(checkers, DATE, "x")
    monkeypatch.undo()

    assert not psutil.pid_exists(before)
    assert _pid(checkers) != before


def test_process_killed_while_idle_is_replaced(checkers: Checkers) -> None:
    before = psutil.Process(_pid(checkers))
    before.kill()
    # A zombie: it has ended, and its parent has not waited for it yet.
    while before.status() != psutil.STATUS_ZOMBIE:
        pass

    assert _pid(checkers) != before.pid


def test_process_that_hangs_is_unavailable(
    checkers: Checkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = psutil.Process(_pid(checkers))
    monkeypatch.setattr(pool, "WALL_SECONDS", 0.2)
    process.suspend()

    with pytest.raises(Unavailable) as caught:
        _verdict(checkers, DATE, "x")

    assert caught.value.retry_after_seconds > 0
    assert _running([process]) == []


def test_processes_all_busy_is_unavailable(
    checkers: Checkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WAIT_SECONDS", 0.05)
    held = [checkers.acquire() for _ in range(pool.PROCESSES_MAX)]

    with pytest.raises(Unavailable):
        _verdict(checkers, DATE, "x")

    for process in held:
        checkers.release(process)
    assert _verdict(checkers, DATE, "2026-01-31") == CheckResult()


def test_process_that_cannot_start_up_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/nowhere"])

    with closing(Checkers()) as checkers, pytest.raises(Unavailable):
        _verdict(checkers, DATE, "x")


def test_process_not_started_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with closing(Checkers()) as checkers:
        for _ in range(pool.PROCESSES_MAX + 1):
            with pytest.raises(Unavailable):
                _verdict(checkers, DATE, "x")


def test_close_ends_a_check_under_way() -> None:
    checkers, before = Checkers(cpu_seconds=20), _children()
    outcomes: list[BaseException] = []

    def work() -> None:
        try:
            _verdict(checkers, COSTLY_SCHEMA, 1)
        except Unavailable as error:
            outcomes.append(error)

    with checkers.request() as request:
        request.verdict(DATE, "x")
        thread = threading.Thread(target=work)
        thread.start()
        while len(children := _children() - before) < 2:
            pass
        checkers.close()
        thread.join(OURS_TO_END)

    assert len(outcomes) == 1
    assert _running(children) == []
    with pytest.raises(Unavailable):
        _verdict(checkers, DATE, "x")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_process_inherits_no_socket_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary")
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(Checkers()) as checkers:
        listening.set_inheritable(True)
        pid = _pid(checkers)

        assert sorted(descriptor.name for descriptor in Path(f"/proc/{pid}/fd").iterdir()) == [
            "0",
            "1",
            "2",
        ]
        assert set(psutil.Process(pid).environ()) <= {"PYTHONPATH", "LC_CTYPE"}


@pytest.mark.slow
@pytest.mark.parametrize("schema", [DATE, COSTLY_SCHEMA], ids=["idle", "busy"])
def test_process_ends_when_its_parent_is_killed(schema: Any) -> None:
    script = f"""
import threading, time
from app.configuration.json_schema.pool import Checkers
checkers = Checkers(cpu_seconds=0.5)
process = checkers.acquire()
process.ask({DATE!r}, "x")
print(process.pid, flush=True)
process.ask({schema!r}, 1)
time.sleep({OURS_TO_END})
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)

    assert _running([child]) == []


def test_checker_answers_frames_until_the_end() -> None:
    ours, theirs = socket.socketpair()
    begun: list[None] = []
    with ours, theirs:
        ours.sendall(frame_of(b"") + frame_of(msgspec.json.encode((DATE, 1))))
        ours.shutdown(socket.SHUT_WR)

        serve(theirs.fileno(), lambda: begun.append(None))

        answer = ours.recv(4_096)
    assert begun == [None]
    assert msgspec.json.decode(answer[4:], type=CheckResult) == check(DATE, 1)


def test_request_small_schemas_need_no_process() -> None:
    before = _children()

    request = RequestCheck(Checkers())

    assert request.verdict({"type": "string"}, 1).broken
    # Processes of earlier tests may end meanwhile.
    assert _children() <= before
