"""The statements of `sql/`: they fit the schema, have unique names, and leave no session state."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

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


@pytest.fixture(scope="module")
async def connection(
    database_target: Target, settings: Settings
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    host, port = database_target.hosts[0]
    opened = await asyncpg.connect(
        host=host, port=port, **asyncpg_arguments(database_target, settings.database)
    )
    yield opened
    await opened.close()


@pytest.mark.parametrize("name", NAMES)
async def test_statement_fits_the_schema(
    connection: "asyncpg.Connection[asyncpg.Record]", name: str
) -> None:
    """PostgreSQL checks the names, the types, and the rights of the app role."""
    if name == "list_parameter_powers" and connection.get_server_version().major < 15:
        pytest.skip("rights to settings need version 15")
    prepared = await connection.prepare(getattr(sql, name).sql)

    declared = next(statement for statement in STATEMENTS if statement.name == name)
    assert len(prepared.get_parameters()) == len(declared.parameters)
    # A restore recreates our types, which would break prepared statements that use them.
    assert {kind.schema for kind in prepared.get_parameters()} <= {"pg_catalog"}


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


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.name)
def test_statement_declares_its_parameters(statement: Statement) -> None:
    used = set(_PARAMETER.findall(_COMMENT.sub("", statement.body)))

    assert used == set(statement.parameters)


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.name)
def test_statement_names_columns_and_leaves_no_session_state(statement: Statement) -> None:
    assert _problems(statement.body) == set()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sql")), ids=lambda path: path.name)
def test_file_begins_with_a_sentence_and_its_owner(path: Path) -> None:
    assert re.match(r"-- [A-Z].*\.\n", path.read_text(encoding="utf-8"))


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
        "select pg_advisory_xact_lock(1) -- listen",
    ],
)
def test_rules_accept_harmless_statements(body: str) -> None:
    assert _problems(body) == set()
