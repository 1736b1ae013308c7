"""What the roles may do to each table, granted anew after every migration.

By name and not by default privileges: a table that nobody thought about is closed.
"""

from typing import Any

import psycopg
from psycopg import sql

from app.database.drivers import SCHEMA
from app.database.roles import APP, BACKUP, READONLY

# Of the app role. History is append-only: nobody who speaks for the service can rewrite it.
TABLES = {
    "migrations": "select",
    "health_check": "select, insert, update, delete",
    "environments": "select, insert, update, delete",
    "configurations": "select, insert, update, delete",
    "change_sets": "select, insert",
    "changes": "select, insert",
    "tokens": "select, insert, update",
    "idempotency_keys": "select, insert, update, delete",
}
SEQUENCES = {"health_check_id_seq": "usage"}


def grant_privileges(connection: psycopg.Connection[Any]) -> None:
    """Give each role what it needs on each table that exists, and nothing else, in one transaction.

    Without provisioned roles there is nothing to grant: one role then owns and does everything.
    """
    roles = _names(
        connection,
        "select rolname from pg_roles where rolname = any(%s)",
        [APP, READONLY, BACKUP],
    )
    relations = _names(
        connection,
        "select relname from pg_class "
        "where relnamespace = to_regnamespace(%s) and relkind in ('r', 'S')",
        SCHEMA,
    )
    with connection.transaction():
        for role in sorted(roles):
            connection.execute(_statement("grant usage on schema {1} to {2}", SCHEMA, role))
            for table in sorted(relations & TABLES.keys()):
                allowed = TABLES[table] if role == APP else "select"
                connection.execute(_statement("revoke all on table {0}.{1} from {2}", table, role))
                connection.execute(
                    _statement(f"grant {allowed} on table {{0}}.{{1}} to {{2}}", table, role)
                )
        if APP in roles:
            for sequence in sorted(relations & SEQUENCES.keys()):
                connection.execute(
                    _statement(
                        f"grant {SEQUENCES[sequence]} on sequence {{0}}.{{1}} to {{2}}",
                        sequence,
                        APP,
                    )
                )


def _names(connection: psycopg.Connection[Any], query: str, parameter: object) -> set[str]:
    rows = connection.execute(query, [parameter])
    return {row[0] for row in rows}


def _statement(template: str, name: str, role: str) -> sql.Composed:
    identifiers = (sql.Identifier(part) for part in (SCHEMA, name, role))
    return sql.SQL(template).format(*identifiers)
