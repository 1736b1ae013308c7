-- Queries for the excess powers of a role, from catalogs that every role can read.
-- Owner: database/roles/.

-- name: list_role_powers(append_only)
-- Powers of the role that logged in and of every role it is a member of: one `set role` makes it that
-- role. A superuser may do everything, so it is the only power then. A role without rights must be
-- reported too, so this uses no regclass and no regnamespace of our schemas, which such a role cannot
-- resolve. Rights on tables that a newer release may grant are not reported, or an older instance
-- would refuse to start beside it.
with reach as (
    select oid, rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
    from pg_roles where pg_has_role(session_user, oid, 'member')
), schemas as (
    select oid, nspname, nspowner from pg_namespace where nspname in ('flagstone', 'flagstone_audit')
), tables as (
    select pg_class.oid, relname, relowner, relacl, nspname
    from pg_class join schemas on schemas.oid = relnamespace where relkind in ('r', 'p', 'v', 'm', 'f')
), closed (oid, verb) as (
    -- These rights would allow to change the history, run a function as each writer, empty a table, or lock it.
    select oid, unnest(array['trigger', 'truncate']) from tables
    -- Before 17 the right has no name.
    union all select oid, 'maintain' from tables where current_setting('server_version_num')::integer >= 170000
    union all select oid, unnest(array['update', 'delete']) from tables
    where nspname = 'flagstone_audit' or relname = any(:append_only::text[])
    union all select oid, 'insert' from tables where nspname = 'flagstone_audit' or relname = 'migrations'
), others (schema, owner) as (
    -- Their owner could replace them.
    select relnamespace, relowner from pg_class where relkind = 'S'
    union all select pronamespace, proowner from pg_proc
    union all select typnamespace, typowner from pg_type where typtype in ('d', 'e', 'r')
), inner_objects (kind, catalog, oid, name, owner, acl) as (
    select 'r'::"char", 'pg_class'::regclass, oid, relname, relowner, relacl
    from pg_class where relnamespace = 'pg_catalog'::regnamespace
    union all select 'f', 'pg_proc'::regclass, oid, proname, proowner, proacl
    from pg_proc where pronamespace = 'pg_catalog'::regnamespace
), powers (place, power) as (
    select 1, case
        when rolname = session_user then 'is a superuser'
        else 'may become the superuser ' || quote_ident(rolname)
    end
    from reach
    where rolsuper and (rolname = session_user or session_user not in (select rolname from reach where rolsuper))
    union select 2, power
    from reach, lateral (values
        (rolcreaterole, 'may create roles'), (rolcreatedb, 'may create databases'),
        (rolreplication, 'may copy the whole server by replication'),
        (rolbypassrls, 'may bypass row-level security')
    ) as attributes (has_it, power)
    where has_it
    -- Roles for statistics are harmless; roles that a later release adds may not be.
    union select 3, 'is a member of ' || rolname
    from reach
    where rolname ^@ 'pg_' and rolname not in (
        'pg_database_owner', 'pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats',
        'pg_stat_scan_tables', 'pg_use_reserved_connections')
    union select 4, 'owns the database'
    from pg_database join reach on reach.oid = datdba where datname = current_database()
    union select 5, 'owns the schema ' || nspname from schemas join reach on reach.oid = nspowner
    union select 6, 'owns the tables' from tables join reach on reach.oid = relowner
    union select 6, 'owns functions, sequences or types in the schema ' || nspname
    from others join schemas on schemas.oid = schema join reach on reach.oid = owner
    where not pg_has_role(session_user, nspowner, 'member')
    union select 7, 'may create schemas in the database'
    from pg_database, reach
    where datname = current_database() and has_database_privilege(reach.oid, pg_database.oid, 'create')
        and not pg_has_role(session_user, datdba, 'member')
    -- In any schema: objects in the schema public may shadow others.
    union select 8, 'may create objects in the schema ' || quote_ident(nspname)
    from pg_namespace, reach
    where has_schema_privilege(reach.oid, pg_namespace.oid, 'create') and nspname !~ '^pg_(toast_)?temp_'
        and not exists (
            select from schemas
            where schemas.oid = pg_namespace.oid and pg_has_role(session_user, schemas.nspowner, 'member'))
    union select 9, 'may ' || string_agg(distinct verb, ', ' order by verb) || ' on ' || quote_ident(relname)
    from tables join closed using (oid), reach
    where not pg_has_role(session_user, relowner, 'member') and case
        -- A right to one column is enough.
        when verb in ('insert', 'update') then has_any_column_privilege(reach.oid, tables.oid, verb)
        else has_table_privilege(reach.oid, tables.oid, verb)
    end
    group by tables.oid, relname
    union select 10, 'may grant its rights to ' || quote_ident(relname)
    from tables, aclexplode(relacl) as acl join reach on reach.oid = acl.grantee
    where is_grantable and not pg_has_role(session_user, relowner, 'member')
    -- Except trigger functions, which cannot be called, and functions of extensions, which every role may use.
    union select 11, concat(
        'may run ', quote_ident(nspname), '.', quote_ident(proname), ' as ', quote_ident(pg_get_userbyid(proowner)))
    from pg_proc join pg_namespace on pg_namespace.oid = pronamespace, reach
    where prosecdef and prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
        and nspname <> 'pg_catalog' and not pg_has_role(session_user, proowner, 'member')
        and has_schema_privilege(reach.oid, pg_namespace.oid, 'usage')
        and has_function_privilege(reach.oid, pg_proc.oid, 'execute')
        and not exists (
            select from pg_depend
            where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e')
    -- Rights that PostgreSQL grants to no role, for example to read passwords or files of the
    -- server. PostgreSQL's own roles are listed by name above.
    union select 12, 'may ' || case kind when 'f' then 'run ' else lower(acl.privilege_type) || ' on ' end || name
    from inner_objects, aclexplode(acl) as acl join reach on reach.oid = acl.grantee
    where acl.grantee <> owner and not rolname ^@ 'pg_' and not exists (
        select from aclexplode(coalesce((
            select initprivs from pg_init_privs
            where objoid = inner_objects.oid and classoid = catalog and objsubid = 0
        ), acldefault(kind, owner))) as initial
        where initial.grantee in (0, acl.grantee) and initial.privilege_type = acl.privilege_type)
)
select power from powers where place = 1 or not exists (select from reach where rolsuper)
order by place, power;

-- name: list_parameter_powers()
-- Settings that only a superuser may change, and that were granted: some of them switch triggers off or
-- run programs. A statement of its own, since servers before 15 do not have the table.
select distinct 'may set ' || case privilege_type when 'SET' then '' else 'for the whole server ' end || parname as power
from pg_parameter_acl, aclexplode(paracl)
where case grantee when 0 then true else pg_has_role(session_user, grantee, 'member') end
    and not exists (select from pg_roles where rolsuper and pg_has_role(session_user, oid, 'member'))
order by power;
