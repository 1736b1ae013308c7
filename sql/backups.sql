-- Queries for the objects in a dump, and those to drop before a restore. They read only catalogs.
-- Owner: operations/backups/.

-- name: get_backup_moment()^
-- The snapshot for pg_dump, and the current time. Its transaction must stay open until pg_dump has
-- begun.
select
    pg_export_snapshot() as snapshot,
    current_timestamp as at,
    current_database()::text as database,
    current_setting('server_version') as server_version;

-- name: list_backup_schemas()
-- Includes the record of schema changes if the role may read it: the backup role may, the migrator
-- may not.
select nspname::text as name
from pg_namespace
where nspname = 'flagstone'
   or (nspname = 'flagstone_audit' and has_schema_privilege(oid, 'usage'))
order by nspname;

-- name: list_stored_tables()
-- Tables with rows, and their size on disk. A dump is smaller.
select
    pg_namespace.nspname::text as schema,
    pg_class.relname::text as name,
    pg_table_size(pg_class.oid) as bytes
from pg_class
inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_namespace.nspname in ('flagstone', 'flagstone_audit')
  and has_schema_privilege(pg_namespace.oid, 'usage')
  and pg_class.relkind = 'r'
order by
    pg_namespace.nspname,
    pg_class.relname;

-- name: list_schema_objects()
-- Every object of our schema, in an order in which they can be dropped. An index or the sequence of a
-- column is not listed: it is dropped with its table.
with objects (place, kind, class, oid, name) as (
    select case relkind when 'v' then 1 when 'm' then 2 when 'S' then 4 else 3 end,
        null, 'pg_class'::regclass, oid, relname
    from pg_class
    where relnamespace = 'flagstone'::regnamespace and relkind in ('v', 'm', 'r', 'p', 'S') and not exists (
        select from pg_depend
        where relkind = 'S' and classid = 'pg_class'::regclass and objid = pg_class.oid and deptype in ('a', 'i'))
    union all select 5, 'routine', 'pg_proc'::regclass, oid, proname
    from pg_proc where pronamespace = 'flagstone'::regnamespace
    union all select 6, 'type', 'pg_type'::regclass, pg_type.oid, typname
    from pg_type left join pg_class on pg_class.oid = typrelid
    where typnamespace = 'flagstone'::regnamespace and (typtype in ('e', 'd', 'r') or relkind = 'c')
)
select coalesce(kind, identified.type) as kind, identity, objects.name::text as name
from objects, pg_identify_object(class, oid, 0) as identified
order by place, objects.name;
