"""Statements that read the past find their rows by index, with and without statistics.

The plans are generic ones, as after the first executions of a prepared statement.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from app.database import sql
from tests.conftest import Server

Connection = psycopg.Connection[tuple[Any, ...]]

KEYS = 20
REVISIONS = 20_000
MIDDLE = REVISIONS // 2

# Each key is created, changed often, deleted and created again.
_FILL = f"""
create temporary table planned as
select
    revision,
    'key/' || revision % {KEYS} as key,
    (revision / {KEYS}) % 200 = 100 as is_deletion,
    revision / {KEYS} = 1 or (revision / {KEYS}) % 200 = 101 as is_creation
from generate_series({KEYS}, {REVISIONS}) as revision;
set session_replication_role = replica;
insert into change_sets (environment, revision, kind, actor, created_at)
select 'local', revision, 'edit', 'test', '2026-01-01Z'::timestamptz + revision * interval '5 s'
from planned;
insert into changes (
    environment, revision, key,
    before_kind, before_value, before_version, after_kind, after_value, after_version
)
select
    'local', revision, key,
    case when not is_creation then 'setting' end,
    case when not is_creation then to_jsonb(revision) end,
    case when not is_creation then revision end,
    case when not is_deletion then 'setting' end,
    case when not is_deletion then to_jsonb(revision) end,
    case when not is_deletion then revision + 1 end
from planned;
"""  # noqa: S608 - constants of this test

_ALL_KEYS = "'{" + ",".join(f"key/{n}" for n in range(KEYS)) + "}'"
# 100 prefixes. One of them has keys.
_PREFIXES = "'{" + ",".join(sorted(["key/1", *(f"key/z{n}/" for n in range(99))])) + "}'"
_HOUR = "timestamptz '2026-01-01 12:00Z'"
# The arguments of each statement, in the order in which it uses them, and how many pages it may
# touch. To read all changes by an index touches more than 20,000.
STATEMENTS = {
    "list_keys_at": (f"'{{\"\"}}', 'local', {MIDDLE}, '', null, 101", 1_000),
    "list_contents_at": (f"{_ALL_KEYS}, 'local', {MIDDLE}", 400),
    "list_entries_at": (f"{_ALL_KEYS}, 'local', {MIDDLE}, 2097152", 1_200),
    "probe_changed_keys": (
        f"'{{\"\"}}', {MIDDLE}, 'local', {REVISIONS}, '', 250",
        1_400,
    ),
    # The limited statements read the index of changes from its end.
    "list_revisions_below": (
        f"'local', 1, {REVISIONS}, {_PREFIXES}, null, null, null, null, 31",
        600,
    ),
    # A range of an index for each prefix, and one change of each key.
    "list_keys_below": (f"{_PREFIXES}, 'local', 1, null, 301", 400),
    "list_revisions_of_keys": (
        f"{_ALL_KEYS}, 'local', 1, {REVISIONS}, null, null, null, 31",
        400,
    ),
    "find_revision_at": (f"'local', {_HOUR}", 100),
}
# The same statements for 100 prefixes.
LIMITED = {
    "list_keys_at": (f"{_PREFIXES}, 'local', {MIDDLE}, '', null, 101", 1_000),
    "probe_changed_keys": (f"{_PREFIXES}, {MIDDLE}, 'local', {REVISIONS}, '', 250", 1_400),
}


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Connection]:
    """Connect to a database with a long history, which nothing has analyzed."""
    name = server.create_database("plans", template="flagstone")
    with server.admin(name) as connection:
        connection.execute(
            "set search_path = flagstone; set plan_cache_mode = force_generic_plan; set jit = off"
        )
        for table in ("changes", "change_sets"):
            connection.execute(f"alter table {table} set (autovacuum_enabled = false)".encode())
        connection.execute(_FILL.encode())
        yield connection
    server.drop_database(name)


@pytest.mark.slow
@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_on_the_past_reads_by_index(
    filled: Connection, name: str, *, is_analyzed: bool
) -> None:
    arguments, pages_max = STATEMENTS[name]
    _check_plan(filled, name, arguments, pages_max, is_analyzed=is_analyzed)


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("name", LIMITED)
def test_limited_statement_reads_a_range_for_each_prefix(
    filled: Connection, name: str, *, is_analyzed: bool
) -> None:
    arguments, pages_max = LIMITED[name]
    _check_plan(filled, name, arguments, pages_max, is_analyzed=is_analyzed)


def _check_plan(
    filled: Connection, name: str, arguments: str, pages_max: int, *, is_analyzed: bool
) -> None:
    if is_analyzed:
        filled.execute("vacuum analyze changes, change_sets")

    filled.execute(f"prepare past as {getattr(sql, name).sql}".encode())
    row = filled.execute(
        f"explain (analyze, buffers, format json) execute past({arguments})".encode()
    ).fetchone()
    filled.execute("deallocate past")

    assert row is not None
    plan = row[0][0]["Plan"]
    nodes = list(_nodes(plan))
    assert [node for node in nodes if node["Node Type"] == "Seq Scan"] == []
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= pages_max, nodes


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {name: value for name, value in plan.items() if name != "Plans"}
    for inner in plan.get("Plans", []):
        yield from _nodes(inner)
