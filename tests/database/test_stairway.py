"""Each migration can be rolled back, and applying it again gives the same schema."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from app.database.migrations import read_files
from app.database.migrations.expectation import read_facts
from app.database.migrations.files import FOLDER
from app.database.migrations.runner import Migrator
from app.database.role_names import MIGRATOR
from tests.conftest import Server

Description = list[tuple[object, ...]]

# The facts of the schema after the first 20 migrations, on every version of PostgreSQL.
_BASELINE_FACTS = Path(__file__).with_name("baseline_facts.json")
_AFTER_BASELINE = "1795890001000"

# Queries for everything in the schema that our statements can use. They leave out the positions of
# columns: a dropped column keeps its number.
_CATALOG = {
    "relations": """
        select relname, relkind, relpersistence, reloptions, relrowsecurity, relowner::regrole
        from pg_class where relnamespace = to_regnamespace('flagstone')
    """,
    "privileges": """
        select relname, array(select unnest(relacl)::text order by 1)
        from pg_class where relnamespace = to_regnamespace('flagstone')
    """,
    "columns": """
        select relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
            attgenerated, attstorage, to_jsonb(pg_attribute) ->> 'attcompression', collname,
            pg_get_expr(adbin, adrelid)
        from pg_attribute
        join pg_class on pg_class.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        left join pg_collation on pg_collation.oid = attcollation
        where relnamespace = to_regnamespace('flagstone') and attnum > 0 and not attisdropped
    """,
    "order of columns": """
        select relname, array_agg(attname::text order by attnum)
        from pg_attribute join pg_class on pg_class.oid = attrelid
        where relnamespace = to_regnamespace('flagstone') and attnum > 0 and not attisdropped
        group by relname
    """,
    "constraints": """
        select conrelid::regclass::text, conname, contype, convalidated, condeferrable,
            pg_get_constraintdef(oid)
        from pg_constraint where connamespace = to_regnamespace('flagstone')
    """,
    "indexes": """
        select indexrelid::regclass::text, indisvalid, indisunique, pg_get_indexdef(indexrelid)
        from pg_index join pg_class on pg_class.oid = indexrelid
        where relnamespace = to_regnamespace('flagstone')
    """,
    "sequences": """
        select sequencename, data_type::text, start_value, min_value, max_value, increment_by,
            cycle, cache_size
        from pg_sequences where schemaname = 'flagstone'
    """,
    "owners of sequences": """
        select objid::regclass::text, refobjid::regclass::text, refobjsubid
        from pg_depend join pg_class on pg_class.oid = objid
        where relnamespace = to_regnamespace('flagstone') and relkind = 'S'
            and deptype in ('a', 'i') and refclassid = 'pg_class'::regclass
    """,
    "types": """
        select typname, typtype, array(
            select enumlabel::text from pg_enum where enumtypid = pg_type.oid order by enumsortorder
        )
        from pg_type where typnamespace = to_regnamespace('flagstone')
    """,
    "functions": """
        select proname, pg_get_functiondef(oid)
        from pg_proc where pronamespace = to_regnamespace('flagstone')
    """,
    "triggers": """
        select tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(pg_trigger.oid)
        from pg_trigger join pg_class on pg_class.oid = tgrelid
        where relnamespace = to_regnamespace('flagstone') and not tgisinternal
    """,
    "comments": """
        select pg_describe_object(classoid, objoid, objsubid), description
        from pg_description
        left join pg_class on classoid = 'pg_class'::regclass and pg_class.oid = objoid
        left join pg_type on classoid = 'pg_type'::regclass and pg_type.oid = objoid
        left join pg_constraint on classoid = 'pg_constraint'::regclass
            and pg_constraint.oid = objoid
        where to_regnamespace('flagstone') in (relnamespace, typnamespace, connamespace)
    """,
    # `database provision` creates the schema flagstone_audit and locks the schema public.
    "schemas": """
        select nspname, nspowner::regrole
        from pg_namespace where nspname !~ '^pg_' and nspname not in ('flagstone_audit', 'public')
    """,
    "extensions": "select extname, extversion from pg_extension",
}
# Tables that migrations fill.
_ROWS = {
    "environments": "select name, tier, protected, revision from flagstone.environments",
    "access_editions": "select part from flagstone.access_editions",
}


def _describe(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, Description]:
    """Return a description of the schema. Equal schemas have equal descriptions."""
    tables = {
        table: query for table, query in _ROWS.items() if _exists(connection, f"flagstone.{table}")
    }
    return {
        kind: sorted(connection.execute(query.encode()).fetchall(), key=repr)
        for kind, query in (_CATALOG | tables).items()
    }


def _exists(connection: psycopg.Connection[tuple[object, ...]], table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [table]).fetchone()
    return row == (True,)


@pytest.fixture
def migrator(server: Server) -> Iterator[Migrator]:
    """Yield a migrator for a new, empty database."""
    name = server.create_database("stairway")
    yield Migrator(
        target=server.target(MIGRATOR, name), settings=server.provisioner.settings, instance="tests"
    )
    server.drop_database(name)


@pytest.mark.slow
def test_each_migration_up_down_up_gives_the_same_schema(
    server: Server, migrator: Migrator, tmp_path: Path
) -> None:
    climbing = replace(migrator, folder=tmp_path)
    with server.admin("stairway") as connection:
        below = _describe(connection)
        for file in read_files():
            for ending in (".sql", ".rollback.sql"):
                shutil.copy(FOLDER / f"{file.name}{ending}", tmp_path)

            assert climbing.migrate() == [file.name]
            above = _describe(connection)
            assert climbing.roll_back(1) == [file.name]
            assert _without_schema(_describe(connection)) == _without_schema(below), file.name
            assert climbing.migrate() == [file.name]

            assert _describe(connection) == above, file.name
            assert above != below, f"{file.name} changes nothing"
            below = above


def _without_schema(described: dict[str, Description]) -> dict[str, Description]:
    """Omit the schemas: the runner creates ours before the first migration, and never drops it."""
    return {kind: rows for kind, rows in described.items() if kind != "schemas"}


@pytest.mark.slow
def test_all_migrations_up_down_up_give_the_same_schema(server: Server, migrator: Migrator) -> None:
    """The tables do not depend on `database provision`."""
    names = [file.name for file in read_files()]
    applied = migrator.migrate()
    with server.admin("stairway") as connection, server.admin("flagstone") as provisioned:
        first = _describe(connection)
        assert first == _describe(provisioned)

        rolled_back = migrator.roll_back(len(names))
        empty = _describe(connection)
        migrator.migrate()

        assert _describe(connection) == first
        ledger = migrator.status()
    assert (applied, rolled_back) == (names, names[::-1])
    assert (ledger.pending, ledger.problems) == ([], [])
    assert [record.name for record in ledger.records] == names
    assert {record.state for record in ledger.records} == {"applied"}
    assert {record.instance for record in ledger.records} == {"tests"}
    assert migrator.migrate() == []
    assert {kind for kind, rows in empty.items() if rows} == {"schemas", "extensions"}


def test_baseline_has_the_stored_facts(server: Server, migrator: Migrator, tmp_path: Path) -> None:
    """Later migrations do not change the baseline. If WORDING changes, write its facts again."""
    for path in FOLDER.iterdir():
        if path.name < _AFTER_BASELINE:
            shutil.copy(path, tmp_path)
    replace(migrator, folder=tmp_path).migrate()

    with server.admin("stairway") as connection:
        facts = read_facts(connection)

    # Rights change with releases, and have tests of their own.
    described = sorted(fact for fact in facts if not fact.startswith("grant on "))
    assert described == json.loads(_BASELINE_FACTS.read_text())
