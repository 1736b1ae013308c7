"""A large installation, written by SQL: 100 environments of very different sizes.

The hashes of its history are well-formed, but they are no chain: nothing here verifies it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from rich.progress import Progress

from app.database.client.drivers import libpq_arguments
from app.database.role_names import OWNER
from app.database.targets import open_targets
from app.settings import load
from tests.benchmarks.processes import service

ENTRIES, FLAGS, REVISIONS = 50_000, 20_000, 1_000_000
_AT_ONCE = 25_000
_SMALL = 96


@dataclass(frozen=True)
class Size:
    """The number of entries and of revisions of an environment. Two of five entries are flags."""

    name: str
    entries: int
    revisions: int


LARGEST = Size("shop-production", 12_000, 400_000)
SIZES = (
    LARGEST,
    Size("shop-staging", 8_000, 200_000),
    Size("shop-development", 6_000, 100_000),
    Size("shop-local", 4_000, 60_000),
    *(Size(f"team-{number:02}", 208, 2_500) for number in range(_SMALL - 32)),
    *(Size(f"team-{number:02}", 209, 2_500) for number in range(_SMALL - 32, _SMALL)),
)

_VALUE = """
create function pg_temp.value_of(number bigint, revision bigint) returns jsonb
language sql immutable as $$
    select case when number % 5 < 2 then jsonb_build_object(
        'state', 'ENABLED',
        'variants', '{"on": true, "off": false}'::jsonb,
        'defaultVariant', 'off',
        'targeting', case when number % 10 < 5 then jsonb_build_object(
            'if', jsonb_build_array(
                '{"in": [{"var": "country"}, ["CH", "AT", "DE"]]}'::jsonb, 'on', 'off'
            )
        ) else jsonb_build_object(
            'if', jsonb_build_array(
                '{"ends_with": [{"var": "email"}, "@example.com"]}'::jsonb,
                'on',
                jsonb_build_object('fractional', jsonb_build_array(
                    jsonb_build_array('on', revision % 101),
                    jsonb_build_array('off', 100 - revision % 101)
                ))
            )
        ) end
    ) else jsonb_build_object('retries', revision, 'region', 'eu-' || number) end
$$
"""
_KIND = """
create function pg_temp.kind_of(number bigint) returns text
language sql immutable as $$ select case when number % 5 < 2 then 'flag' else 'setting' end $$
"""
_ENVIRONMENT = """
insert into flagstone.environments (name, tier) values (%(name)s, 'local')
on conflict on constraint environments_pkey do nothing
"""
_CHANGE_SETS = """
insert into flagstone.change_sets (environment, revision, kind, actor, message, created_at, hash)
select
    %(name)s,
    revision,
    'edit',
    'token:bench-' || revision %% 20,
    '',
    current_timestamp - make_interval(secs => 30 * (%(revisions)s - revision)),
    sha256((%(name)s || revision)::bytea)
from generate_series(%(first)s::bigint, %(last)s::bigint) as revision
"""
# Revision r changes key (r - 1) %% entries: the first revisions create all keys.
_CHANGES = """
insert into flagstone.changes (
    environment, revision, key,
    before_kind, before_value, before_version, after_kind, after_value, after_version
)
select
    %(name)s,
    revision,
    'area-' || number %% 50 || '/key-' || number,
    case when turn > 0 then pg_temp.kind_of(number) end,
    case when turn > 0 then pg_temp.value_of(number, revision - %(entries)s) end,
    case when turn > 0 then turn end,
    pg_temp.kind_of(number),
    pg_temp.value_of(number, revision),
    turn + 1
from generate_series(%(first)s::bigint, %(last)s::bigint) as revision
cross join lateral (
    select (revision - 1) %% %(entries)s as number, (revision - 1) / %(entries)s as turn
) as position
"""
_CONFIGURATIONS = """
insert into flagstone.configurations (environment, key, kind, value, version, updated_revision)
select environment, key, after_kind, after_value, after_version, revision
from flagstone.changes
where environment = %(name)s and revision > %(revisions)s - %(entries)s
"""
_HEAD = """
update flagstone.environments
set revision = %(revisions)s, hash = sha256((%(name)s || %(revisions)s)::bytea)
where name = %(name)s
"""


def fill(folder: Path, progress: Progress) -> None:
    """Write the installation into a new DATA_DIR."""
    with service(folder):
        pass
    settings = load({"DATA_DIR": str(folder), "LOG_LEVEL": "error"})
    task = progress.add_task(f"large: writing {REVISIONS:,} revisions", total=REVISIONS)
    with (
        open_targets(settings) as targets,
        psycopg.connect(
            **libpq_arguments(targets.migrator, settings.database), autocommit=True
        ) as connection,
    ):
        for setting in (f"role {OWNER}", "statement_timeout = 0", "synchronous_commit = off"):
            connection.execute(f"set {setting}".encode())
        connection.execute(_VALUE)
        connection.execute(_KIND)
        for size in SIZES:
            parts = {"name": size.name, "entries": size.entries, "revisions": size.revisions}
            connection.execute(_ENVIRONMENT, parts)
            for first, last in _ranges(size.revisions):
                part = {**parts, "first": first, "last": last}
                connection.execute(_CHANGE_SETS, part)
                connection.execute(_CHANGES, part)
                progress.advance(task, last - first + 1)
            connection.execute(_CONFIGURATIONS, parts)
            connection.execute(_HEAD, parts)
        connection.execute("analyze")


def _ranges(revisions: int) -> Iterator[tuple[int, int]]:
    for first in range(1, revisions + 1, _AT_ONCE):
        yield first, min(first + _AT_ONCE - 1, revisions)
