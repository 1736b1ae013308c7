-- Queries of the doctor about the server. They read only catalogs, and every role may run them.
-- Owner: operations/doctor/.

-- name: get_server_state()^
select
    current_setting('server_version') as version,
    pg_is_in_recovery() as is_standby,
    current_setting('transaction_read_only')::boolean as is_read_only;

-- name: find_own_tls()^
-- The row of our own connection. Every role may read it.
select
    ssl as is_used,
    version,
    cipher
from pg_stat_ssl
where pid = pg_backend_pid();

-- name: get_connection_limits()^
-- A limit of -1 means none. Reserved connections are for superusers, and since 16 also for chosen
-- roles.
select
    current_setting('max_connections')::integer as server_limit,
    current_setting('superuser_reserved_connections')::integer
        + coalesce(current_setting('reserved_connections', true)::integer, 0) as reserved,
    roles.rolconnlimit as role_limit,
    databases.datconnlimit as database_limit
from pg_roles as roles
cross join pg_database as databases
where roles.rolname = session_user
  and databases.datname = current_database();

-- name: get_server_time()$
-- now() would be the start of the transaction.
select clock_timestamp();

-- name: list_server_settings(names)
select
    name,
    setting
from pg_settings
where name = any(:names::text[])
order by name;

-- name: list_roles(names)
select
    rolname as name,
    rolcanlogin as can_log_in,
    rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as is_powerful
from pg_roles
where rolname = any(:names::text[])
order by rolname;

-- name: list_memberships(names)
-- The roles that each of these may become, directly or through others.
select
    members.rolname as member,
    roles.rolname as name
from pg_roles as members
join pg_roles as roles
    on roles.oid <> members.oid
   and pg_has_role(members.oid, roles.oid, 'member')
where members.rolname = any(:names::text[])
  and not members.rolsuper
order by
    member,
    name;

-- name: list_public_rights()
-- The rights of PUBLIC, which every role has. A null list of rights means the defaults.
select 'create objects in the schema ' || namespaces.nspname as power
from pg_namespace as namespaces
cross join aclexplode(
    coalesce(namespaces.nspacl, acldefault('n', namespaces.nspowner))
) as acl
where namespaces.nspname in ('flagstone', 'flagstone_audit', 'public')
  and acl.grantee = 0
  and acl.privilege_type = 'CREATE'
union all
select
    case acl.privilege_type
        when 'TEMPORARY' then 'create temporary tables'
        else 'create schemas'
    end
from pg_database as databases
cross join aclexplode(
    coalesce(databases.datacl, acldefault('d', databases.datdba))
) as acl
where databases.datname = current_database()
  and acl.grantee = 0
  and acl.privilege_type in ('CREATE', 'TEMPORARY')
union
-- A right to one column is listed as a right to the table.
select lower(acl.privilege_type) || ' on ' || classes.relname
from pg_class as classes
join pg_namespace as namespaces
    on namespaces.oid = classes.relnamespace
left join pg_attribute as columns
    on columns.attrelid = classes.oid
cross join lateral (values (classes.relacl), (columns.attacl)) as lists (rights)
cross join aclexplode(lists.rights) as acl
where namespaces.nspname in ('flagstone', 'flagstone_audit')
  and acl.grantee = 0
order by power;

-- name: may_read_verifiers()$
select has_table_privilege('pg_catalog.pg_authid', 'select');

-- name: list_weak_verifiers(names)
-- Roles whose password is stored otherwise than by SCRAM: before 14 the default was md5.
select rolname as name
from pg_authid
where rolname = any(:names::text[])
  and rolpassword not like 'SCRAM-SHA-256$%'
order by rolname;
