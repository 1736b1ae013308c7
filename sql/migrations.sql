-- The ledger of migrations.
-- Owner: database/migrations/.

-- name: list_applied_migrations()
select name
from migrations
where state = 'applied'
order by "timestamp";

-- name: find_last_migration()$
select name
from migrations
where state = 'applied'
order by "timestamp" desc
limit 1;

-- name: list_migrations()
-- No limit is needed: there are as many rows as files.
select
    name,
    kind,
    phase,
    state,
    checksum,
    instance,
    applied_at,
    applied_by,
    duration_ms
from migrations
order by "timestamp" desc;

-- name: list_rights(roles)
-- The rights of each role to each table and sequence, and to other relations if it has any.
select
    pg_roles.rolname as role,
    pg_class.relname as relation,
    pg_class.relkind in ('r', 'S') as is_listed,
    coalesce(
        array_agg(lower(acl.privilege_type)) filter (where acl.privilege_type is not null), '{}'
    ) as rights
from pg_roles
cross join pg_class
left join lateral aclexplode(pg_class.relacl) as acl on acl.grantee = pg_roles.oid
where
    pg_roles.rolname = any(:roles::text [])
    and pg_class.relnamespace = to_regnamespace('flagstone')
    and (pg_class.relkind in ('r', 'S') or acl.privilege_type is not null)
group by pg_roles.rolname, pg_class.oid, pg_class.relname, pg_class.relkind;

-- name: find_no_migrator(lock_key)$
-- No migrator begins until this transaction ends. Returns false while one is running.
select pg_try_advisory_xact_lock_shared(:lock_key::bigint);
