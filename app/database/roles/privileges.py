"""What the roles may do to each table, granted anew after every migration.

By name and not by default privileges: a table that nobody thought about is closed, to all but the
backup role. A dump is whole or it is none.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from app.database.client.drivers import SCHEMA
from app.database.role_names import APP, BACKUP, OWNER, READONLY

# Of the app role. History is append-only: nobody who speaks for the service can rewrite it.
TABLES = {
    "migrations": "select",
    "health_check": "select, insert, update, delete",
    "environments": "select, insert, update",
    "configurations": "select, insert, update, delete",
    "change_sets": "select, insert",
    "changes": "select, insert",
    "property_changes": "select, insert",
    "tokens": "select, insert, update",
    "idempotency_keys": "select, insert, update, delete",
    "flag_usage": "select, insert, update",
    # What changes or destroys a data key is a command of the operator, as the owner.
    "data_keys": "select, insert",
    "access_log": "select, insert",
    "schema_fingerprints": "select",
}
SEQUENCES = {"health_check_id_seq": "usage"}
# Where nobody who speaks for the service changes or removes a row.
APPEND_ONLY = tuple(
    table for table, rights in TABLES.items() if not {"update", "delete"} & {*rights.split(", ")}
)

_BY_DEFAULT = (
    "revoke execute on functions from public",
    "in schema {0} grant select on tables to {2}",
    "in schema {0} grant select on sequences to {2}",
)
_CLOSED = (
    "select count(*) from pg_default_acl where defaclrole = to_regrole(%s) and ("
    "defaclnamespace = 0 and defaclobjtype = 'f' "
    "and not exists (select from aclexplode(defaclacl) where grantee = 0) "
    "or defaclnamespace = to_regnamespace(%s) and defaclobjtype in ('r', 'S') "
    "and exists (select from aclexplode(defaclacl) "
    "where grantee = to_regrole(%s) and privilege_type = 'SELECT'))"
)


def grant_privileges(connection: psycopg.Connection[Any]) -> list[str]:
    """Give each role what it needs on each table that exists, and nothing else, in one transaction.

    Returns what was not as it should be.

    Nothing is touched when all is as it should be, so that a start takes no locks. Without
    provisioned roles there is nothing to grant: one role then owns and does everything.
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
    wanted = {
        (role, relation, privilege)
        for role in roles
        for relation in relations
        for privilege in _wanted(role, relation)
    }
    granted = _granted(connection, roles)
    if granted == wanted:
        return []
    with connection.transaction():
        for role in sorted(roles):
            _run(connection, "grant usage on schema {0} to {2}", SCHEMA, role)
        for role, relation, privilege in sorted(granted - wanted):
            what = "sequence" if relation.endswith("_seq") else "table"
            _run(connection, f"revoke {privilege} on {what} {{0}}.{{1}} from {{2}}", relation, role)
        for role, relation, privilege in sorted(wanted - granted):
            what = "sequence" if relation.endswith("_seq") else "table"
            _run(connection, f"grant {privilege} on {what} {{0}}.{{1}} to {{2}}", relation, role)
    return [" ".join(each) for each in sorted(granted ^ wanted)]


def close_by_default(connection: psycopg.Connection[Any]) -> None:
    """Say what holds for an object that a migration makes, until it is granted by name.

    Functions are the one thing that everybody may use from the first moment. The backup role reads
    tables at once: pg_dump fails as a whole for one that it may not read. Everybody else's rights
    stay by name. Types are left as they are: only who may make tables has a use for them. Nothing
    is touched when all is so, or every start of an embedded server would be recorded as a change.
    """
    if _count(connection, _CLOSED, [OWNER, SCHEMA, BACKUP]) == len(_BY_DEFAULT):
        return
    for what in _BY_DEFAULT:
        _run(connection, f"alter default privileges for role {{1}} {what}", OWNER, BACKUP)


def _wanted(role: str, relation: str) -> set[str]:
    listed = {**TABLES, **SEQUENCES}.get(relation)
    if role == BACKUP:
        return {"select"}
    if role == READONLY:
        # A dump reads the sequences too, whether or not something asked for them by name.
        return {"select"} if relation in TABLES or relation.endswith("_seq") else set()
    return set(listed.split(", ")) if listed else set()


def _granted(connection: psycopg.Connection[Any], roles: set[str]) -> set[tuple[str, str, str]]:
    rows = connection.execute(
        "select pg_get_userbyid(acl.grantee), pg_class.relname, lower(acl.privilege_type) "
        "from pg_class, aclexplode(pg_class.relacl) as acl "
        "where pg_class.relnamespace = to_regnamespace(%s) "
        "and pg_get_userbyid(acl.grantee) = any(%s)",
        [SCHEMA, sorted(roles)],
    )
    return {(row[0], row[1], row[2]) for row in rows}


def _count(connection: psycopg.Connection[Any], query: str, parameters: Sequence[object]) -> int:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else 0


def _names(connection: psycopg.Connection[Any], query: str, parameter: object) -> set[str]:
    rows = connection.execute(query, [parameter])
    return {row[0] for row in rows}


def _run(connection: psycopg.Connection[Any], template: str, name: str, role: str) -> None:
    identifiers = (sql.Identifier(part) for part in (SCHEMA, name, role))
    connection.execute(sql.SQL(template).format(*identifiers))
