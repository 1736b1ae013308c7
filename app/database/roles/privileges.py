"""Grant the rights of `rights.py`, and set the default privileges. The migrator does it."""

from typing import Any

import psycopg
from psycopg import sql

from app.database.client.drivers import SCHEMA
from app.database.role_names import APP, BACKUP, READONLY
from app.database.roles.rights import rights_of

_SET_DEFAULTS = """
alter default privileges for role flagstone_owner revoke execute on functions from public;
alter default privileges for role flagstone_owner in schema flagstone
    grant select on tables to flagstone_backup;
alter default privileges for role flagstone_owner in schema flagstone
    grant select on sequences to flagstone_backup;
"""
_COUNT_DEFAULTS = """
select count(*)
from pg_default_acl
where defaclrole = to_regrole('flagstone_owner')
  and (
      defaclnamespace = 0
      and defaclobjtype = 'f'
      and not exists (select from aclexplode(defaclacl) where grantee = 0)
      or defaclnamespace = to_regnamespace('flagstone')
      and defaclobjtype in ('r', 'S')
      and exists (
          select from aclexplode(defaclacl)
          where grantee = to_regrole('flagstone_backup') and privilege_type = 'SELECT'
      )
  )
"""


def grant_privileges(connection: psycopg.Connection[Any]) -> list[str]:
    """Grant each role exactly its rights to each existing table, in one transaction.

    Return the rights that were missing or too many. If there are none, change nothing, so that a
    start takes no locks. Without provisioned roles there is nothing to grant.
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
    expected = {
        (role, relation, privilege)
        for role in roles
        for relation in relations
        for privilege in rights_of(role, relation)
    }
    granted = _granted(connection, roles)
    if granted == expected:
        return []
    with connection.transaction():
        for role in sorted(roles):
            _run(connection, "grant usage on schema {0} to {2}", SCHEMA, role)
        for role, relation, privilege in sorted(granted - expected):
            kind = "sequence" if relation.endswith("_seq") else "table"
            _run(connection, f"revoke {privilege} on {kind} {{0}}.{{1}} from {{2}}", relation, role)
        for role, relation, privilege in sorted(expected - granted):
            kind = "sequence" if relation.endswith("_seq") else "table"
            _run(connection, f"grant {privilege} on {kind} {{0}}.{{1}} to {{2}}", relation, role)
    return [" ".join(right) for right in sorted(granted ^ expected)]


def set_default_privileges(connection: psycopg.Connection[Any]) -> None:
    """Set the default privileges of objects that a migration creates.

    By default every role may execute a new function: revoke that. The backup role may read new
    tables: pg_dump fails if it cannot read one. Types keep their defaults, since only a role that
    may create tables can use them. If nothing differs, change nothing: otherwise every start of an
    embedded server would be recorded as a schema change.
    """
    if connection.execute(_COUNT_DEFAULTS).fetchone() != (3,):
        connection.execute(_SET_DEFAULTS)


def _granted(connection: psycopg.Connection[Any], roles: set[str]) -> set[tuple[str, str, str]]:
    rows = connection.execute(
        "select pg_get_userbyid(acl.grantee), pg_class.relname, lower(acl.privilege_type) "
        "from pg_class, aclexplode(pg_class.relacl) as acl "
        "where pg_class.relnamespace = to_regnamespace(%s) "
        "and pg_get_userbyid(acl.grantee) = any(%s)",
        [SCHEMA, sorted(roles)],
    )
    return {(row[0], row[1], row[2]) for row in rows}


def _names(connection: psycopg.Connection[Any], query: str, parameter: object) -> set[str]:
    rows = connection.execute(query, [parameter])
    return {row[0] for row in rows}


def _run(connection: psycopg.Connection[Any], template: str, name: str, role: str) -> None:
    identifiers = (sql.Identifier(part) for part in (SCHEMA, name, role))
    connection.execute(sql.SQL(template).format(*identifiers))
