-- What a dump contains, and what has to be dropped before a restore. Reads catalogs alone.
-- Owner: operations/backups/.

-- name: get_backup_moment()^
-- The snapshot that pg_dump is to see too, and what this very moment is called. Its transaction has
-- to stay open until pg_dump has begun its own.
select
    pg_export_snapshot() as snapshot,
    current_timestamp as at,
    current_database()::text as database,
    current_setting('server_version') as server_version;

-- name: list_backup_schemas()
-- The record of schema changes as well, for who may read it: the backup role, and not the migrator.
select nspname::text as name
from pg_namespace
where nspname = 'flagstone'
   or (nspname = 'flagstone_audit' and has_schema_privilege(oid, 'usage'))
order by nspname;

-- name: list_stored_tables()
-- What has rows of its own, and how much of the disk it takes: not all of that comes into a dump.
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
-- Everything in our schema that is an object of its own, in the order in which it can be dropped.
-- What belongs to something else, as an index does and a sequence of a column, goes with that.
select
    found.kind,
    identity.identity,
    found.name::text as name
from (
    select
        1 as place,
        'view' as kind,
        'pg_class'::regclass as class,
        pg_class.oid as id,
        pg_class.relname as name
    from pg_class
    where pg_class.relnamespace = 'flagstone'::regnamespace
      and pg_class.relkind = 'v'
    union all
    select
        2,
        'materialized view',
        'pg_class'::regclass,
        pg_class.oid,
        pg_class.relname
    from pg_class
    where pg_class.relnamespace = 'flagstone'::regnamespace
      and pg_class.relkind = 'm'
    union all
    select
        3,
        'table',
        'pg_class'::regclass,
        pg_class.oid,
        pg_class.relname
    from pg_class
    where pg_class.relnamespace = 'flagstone'::regnamespace
      and pg_class.relkind in ('r', 'p')
    union all
    select
        4,
        'sequence',
        'pg_class'::regclass,
        pg_class.oid,
        pg_class.relname
    from pg_class
    where pg_class.relnamespace = 'flagstone'::regnamespace
      and pg_class.relkind = 'S'
      and not exists (
          select 1
          from pg_depend
          where pg_depend.classid = 'pg_class'::regclass
            and pg_depend.objid = pg_class.oid
            and pg_depend.deptype in ('a', 'i')
      )
    union all
    select
        5,
        'routine',
        'pg_proc'::regclass,
        pg_proc.oid,
        pg_proc.proname
    from pg_proc
    where pg_proc.pronamespace = 'flagstone'::regnamespace
    union all
    select
        6,
        'type',
        'pg_type'::regclass,
        pg_type.oid,
        pg_type.typname
    from pg_type
    left join pg_class on pg_class.oid = pg_type.typrelid
    where pg_type.typnamespace = 'flagstone'::regnamespace
      and (pg_type.typtype in ('e', 'd', 'r') or pg_class.relkind = 'c')
) as found
cross join lateral pg_identify_object(found.class, found.id, 0) as identity
order by
    found.place,
    found.name;
