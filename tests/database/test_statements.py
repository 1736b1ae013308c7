"""The statements of `sql/`: they fit the schema, have unique names, and leave no session state."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import pytest

from app.database import sql
from app.database.client.drivers import asyncpg_arguments
from app.database.client.statements import FOLDER
from app.settings import Settings, Target

_NAME = re.compile(r"^-- name: (?P<name>\w+)\((?P<parameters>[^)]*)\)[\^$!]?\s*$", re.MULTILINE)
_COMMENT = re.compile(r"--[^\n]*")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")

_FORBIDDEN = {
    "every column": re.compile(r"\b(?:select|distinct|returning|all)\s+\*|\w\.\*"),
    "a setting of the session": re.compile(r"^\s*(?:set|reset)\b(?!\s+local\b)"),
    "a setting by function": re.compile(r"\bset_config\s*\("),
    "listening": re.compile(r"\b(?:un)?listen\b"),
    "a lock of the session": re.compile(r"\bpg_(?:try_)?advisory_(?:un)?lock\w*"),
    # Every role of the database can take it. sql/locks.sql has the locks of the service.
    "a wait for an advisory lock": re.compile(r"\bpg_advisory_xact_lock"),
    "a temporary table": re.compile(r"\btemp(?:orary)?\b|\bpg_temp\b"),
    "a cursor that outlives the transaction": re.compile(r"\bwith\s+hold\b"),
    "a prepared statement": re.compile(r"^\s*(?:prepare|deallocate|discard|load)\b"),
}
_VERBS = {"select", "insert", "update", "delete", "with"}


@dataclass(frozen=True)
class Statement:
    file: str
    name: str
    parameters: tuple[str, ...]
    body: str


def _statements() -> Iterator[Statement]:
    for path in sorted(FOLDER.glob("*.sql")):
        parts = _NAME.split(path.read_text(encoding="utf-8"))
        for name, parameters, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            names = tuple(part.strip() for part in parameters.split(",") if part.strip())
            yield Statement(path.name, name, names, body)


def _problems(body: str) -> set[str]:
    """Return which forbidden session state a statement would leave in a pooled connection."""
    bare = _TEXT.sub("''", _COMMENT.sub("", body)).lower()
    single = [part for part in bare.split(";") if part.strip()]
    broken = {name for part in single for name, rule in _FORBIDDEN.items() if rule.search(part)}
    return broken | {"another verb" for part in single if part.split()[0] not in _VERBS}


STATEMENTS = list(_statements())
NAMES = sorted(name for name in sql.available_queries if not name.endswith("_cursor"))


def test_no_file_has_a_comment_that_the_loader_ignores() -> None:
    assert not [path.name for path in FOLDER.glob("*.sql") if "/*" in path.read_text()]


async def test_statements_fit_the_schema(database_target: Target, settings: Settings) -> None:
    """PostgreSQL checks the names and the types. It checks rights only when a statement runs."""
    host, port = database_target.hosts[0]
    arguments = asyncpg_arguments(database_target, settings.database)
    connection = await asyncpg.connect(host=host, port=port, **arguments)
    # Rights to settings need version 15.
    too_new = {"list_parameter_powers"} if connection.get_server_version().major < 15 else set()
    faults = {}
    try:
        for statement in STATEMENTS:
            if statement.name not in too_new and (fault := await _fault(connection, statement)):
                faults[statement.name] = fault
    finally:
        await connection.close()

    assert faults == {}


async def _fault(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: Statement
) -> str | None:
    try:
        prepared = await connection.prepare(getattr(sql, statement.name).sql)
    except asyncpg.PostgresError as error:
        return str(error)
    parameters = prepared.get_parameters()
    if len(parameters) != len(statement.parameters):
        return f"has {len(parameters)} parameters"
    # A restore recreates our types, which would break prepared statements that use them.
    ours = {kind.schema for kind in parameters} - {"pg_catalog"}
    return f"has parameters of {ours}" if ours else None


def test_every_statement_has_a_unique_name() -> None:
    """A name that is used twice, or that aiosql cannot parse, would hide a statement."""
    lines = [
        line
        for path in FOLDER.glob("*.sql")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "name:" in line and line.startswith("--")
    ]

    assert len(lines) == len(STATEMENTS)
    assert sorted(statement.name for statement in STATEMENTS) == NAMES


def test_statements_declare_their_parameters() -> None:
    used = {s.name: set(_PARAMETER.findall(_COMMENT.sub("", s.body))) for s in STATEMENTS}

    assert used == {statement.name: set(statement.parameters) for statement in STATEMENTS}


def test_statements_name_columns_and_leave_no_session_state() -> None:
    problems = {statement.name: _problems(statement.body) for statement in STATEMENTS}

    assert {name: found for name, found in problems.items() if found} == {}


def test_files_begin_with_a_sentence_and_their_owner() -> None:
    start = re.compile(r"-- [A-Z].*\.\n")
    files = sorted(FOLDER.glob("*.sql"))

    assert [file.name for file in files if not start.match(file.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "body",
    [
        "select * from tokens",
        "select t.* from tokens as t",
        "delete from tokens returning *",
        "set statement_timeout = 0",
        "set session role x",
        "reset all",
        "select set_config('a.b', 'c', false)",
        "listen flagstone",
        "unlisten *",
        "select pg_advisory_lock(1)",
        "select pg_try_advisory_lock_shared(1)",
        "select pg_advisory_xact_lock(1)",
        "create temp table t (a int)",
        "select 1 as a into temporary t",
        "declare c cursor with hold for select 1",
        "prepare p as select 1",
        "select 1; discard all",
        "truncate tokens",
    ],
)
def test_rules_refuse_bad_statements(body: str) -> None:
    assert _problems(body)


@pytest.mark.parametrize(
    "body",
    [
        "select count(*) from tokens",
        "select a * b from tokens",
        "update tokens set name = 'set role; listen'",
        "select pg_try_advisory_xact_lock(1) -- listen",
    ],
)
def test_rules_accept_harmless_statements(body: str) -> None:
    assert _problems(body) == set()
