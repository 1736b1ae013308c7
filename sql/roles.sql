-- What a role may do, by the catalogues that every role can read.

-- name: list_role_powers(append_only)
-- All that whoever speaks as we do could do, beyond what a service needs. By the role that logged in
-- and every role that it is a member of, since one `set role` makes it that; hence neither
-- current_user nor the rights that are inherited. A role without any rights must be told of too, so
-- no regclass and no regnamespace, which such a role cannot resolve. Of PostgreSQL's own roles those
-- that look at statistics are let be, and those that a later release adds are not. A superuser may
-- do all of it, and is told in one row.
with reach as (
    select
        roles.oid,
        roles.rolname,
        roles.rolsuper,
        roles.rolcreaterole,
        roles.rolcreatedb,
        roles.rolreplication,
        roles.rolbypassrls
    from pg_roles as roles
    where pg_has_role(session_user, roles.oid, 'member')
),

schemas as (
    select
        namespaces.oid,
        namespaces.nspname,
        namespaces.nspowner
    from pg_namespace as namespaces
    where namespaces.nspname in ('flagstone', 'flagstone_audit')
),

tables as (
    select
        classes.oid,
        classes.relname,
        classes.relowner,
        schemas.nspname
    from pg_class as classes
    join schemas
        on schemas.oid = classes.relnamespace
    where classes.relkind in ('r', 'p', 'v', 'm', 'f')
),

-- What nobody but an owner may do: to change rows of the past, and to make whoever writes to a table,
-- its owner too, run a function.
closed (oid, verb) as (
    select
        tables.oid,
        verbs.verb
    from tables
    cross join unnest(array['insert', 'update', 'delete', 'truncate']) as verbs (verb)
    where (
        tables.nspname = 'flagstone_audit'
        or tables.relname = any(:append_only::text[])
    )
      and (
        verbs.verb <> 'insert'
        or tables.nspname = 'flagstone_audit'
        or tables.relname = 'migrations'
    )
    union all
    select
        tables.oid,
        'trigger'
    from tables
),

powers (place, power) as (
    select
        1,
        case
            when reach.rolname = session_user then 'is a superuser'
            else 'may become the superuser ' || quote_ident(reach.rolname)
        end
    from reach
    where reach.rolsuper
      and (
        reach.rolname = session_user
        or not exists (
            select
            from reach as ourselves
            where ourselves.rolname = session_user
              and ourselves.rolsuper
        )
    )
    union
    select
        2,
        attributes.power
    from reach
    cross join lateral (
        values
            (reach.rolcreaterole, 'may make roles'),
            (reach.rolcreatedb, 'may make databases'),
            (reach.rolreplication, 'may copy the whole server by replication'),
            (reach.rolbypassrls, 'passes by row-level security')
    ) as attributes (is_there, power)
    where attributes.is_there
    union
    select
        3,
        'is a member of ' || reach.rolname
    from reach
    where reach.rolname ^@ 'pg_'
      and reach.rolname not in (
          'pg_database_owner',
          'pg_monitor',
          'pg_read_all_settings',
          'pg_read_all_stats',
          'pg_stat_scan_tables',
          'pg_use_reserved_connections'
      )
    union
    select
        4,
        'owns the database'
    from pg_database as databases
    join reach
        on reach.oid = databases.datdba
    where databases.datname = current_database()
    union
    select
        5,
        'owns the schema ' || schemas.nspname
    from schemas
    join reach
        on reach.oid = schemas.nspowner
    union
    select
        6,
        'owns the tables'
    from tables
    join reach
        on reach.oid = tables.relowner
    union
    select
        7,
        'may make schemas in the database'
    from reach
    cross join pg_database as databases
    where databases.datname = current_database()
      and has_database_privilege(reach.oid, databases.oid, 'create')
      and not pg_has_role(session_user, databases.datdba, 'member')
    union
    select
        8,
        'may make objects in the schema ' || schemas.nspname
    from reach
    cross join schemas
    where has_schema_privilege(reach.oid, schemas.oid, 'create')
      and not pg_has_role(session_user, schemas.nspowner, 'member')
    union
    select
        9,
        'may ' || string_agg(distinct closed.verb, ', ' order by closed.verb)
        || ' on ' || quote_ident(tables.relname)
    from reach
    cross join tables
    join closed
        on closed.oid = tables.oid
    where not pg_has_role(session_user, tables.relowner, 'member')
      and case
        -- A right to one column is enough.
        when closed.verb in ('insert', 'update')
            then has_any_column_privilege(reach.oid, tables.oid, closed.verb)
        else has_table_privilege(reach.oid, tables.oid, closed.verb)
    end
    group by
        tables.oid,
        tables.relname
)

select powers.power
from powers
where powers.place = 1
   or not exists (
    select
    from reach
    where reach.rolsuper
)
order by
    powers.place,
    powers.power;
