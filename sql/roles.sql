-- What a role may do beyond its job, from catalogs that every role can read.
-- Owner: database/roles/.

-- name: list_role_powers(append_only)
-- All that whoever speaks as we do could do, beyond what a service needs. By the role that logged in
-- and every role that it is a member of, since one `set role` makes it that; hence neither
-- current_user nor the rights that are inherited. A role without any rights must be told of too, so
-- no regclass and no regnamespace, which such a role cannot resolve. Of PostgreSQL's own roles those
-- that look at statistics are let be, and those that a later release adds are not. A superuser may
-- do all of it, and is told in one row. What a newer release grants on a table is not judged here, or
-- an older instance would not start beside it: only what no release gives the service.
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

-- What nobody but an owner may do: to change rows of the past, to make whoever writes to a table, its
-- owner too, run a function, to empty it at once, and to lock it for good.
closed (oid, verb) as (
    select
        tables.oid,
        verbs.verb
    from tables
    cross join unnest(array['insert', 'update', 'delete']) as verbs (verb)
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
        verbs.verb
    from tables
    cross join unnest(
        case
            -- Before 17 the right has no name.
            when current_setting('server_version_num')::integer < 170000
                then array['trigger', 'truncate']
            else array['maintain', 'trigger', 'truncate']
        end
    ) as verbs (verb)
),

-- What in a schema of ours, beside its tables, is somebody's who could put another thing in its place.
others (schema, owner) as (
    select
        classes.relnamespace,
        classes.relowner
    from pg_class as classes
    where classes.relkind = 'S'
    union all
    select
        functions.pronamespace,
        functions.proowner
    from pg_proc as functions
    union all
    select
        types.typnamespace,
        types.typowner
    from pg_type as types
    where types.typtype in ('d', 'e', 'r')
),

-- What PostgreSQL keeps from everybody, such as the passwords and the files of the server, and somebody
-- was given by name.
inner_rights (grantee, power) as (
    select
        acl.grantee,
        case objects.kind
            when 'f' then 'may run ' || objects.name
            else 'may ' || lower(acl.privilege_type) || ' on ' || objects.name
        end
    from (
        select
            'r'::"char" as kind,
            'pg_class'::regclass as catalogue,
            classes.oid,
            classes.relname as name,
            classes.relowner as owner,
            classes.relacl as acl
        from pg_class as classes
        where classes.relnamespace = 'pg_catalog'::regnamespace
        union all
        select
            'f',
            'pg_proc'::regclass,
            functions.oid,
            functions.proname,
            functions.proowner,
            functions.proacl
        from pg_proc as functions
        where functions.pronamespace = 'pg_catalog'::regnamespace
    ) as objects
    left join pg_init_privs as initial
        on initial.objoid = objects.oid
       and initial.classoid = objects.catalogue
       and initial.objsubid = 0
    cross join aclexplode(objects.acl) as acl
    where acl.grantee <> objects.owner
      and not exists (
        select
        from aclexplode(
            coalesce(initial.initprivs, acldefault(objects.kind, objects.owner))
        ) as given
        where given.grantee in (0, acl.grantee)
          and given.privilege_type = acl.privilege_type
    )
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
        6,
        'owns functions, sequences or types in the schema ' || schemas.nspname
    from others
    join schemas
        on schemas.oid = others.schema
    join reach
        on reach.oid = others.owner
    where not pg_has_role(session_user, schemas.nspowner, 'member')
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
        -- In any schema: what lies in public is found first by many who type a name.
        'may make objects in the schema ' || quote_ident(namespaces.nspname)
    from reach
    cross join pg_namespace as namespaces
    where has_schema_privilege(reach.oid, namespaces.oid, 'create')
      and not namespaces.nspname ^@ 'pg_temp_'
      and not namespaces.nspname ^@ 'pg_toast_temp_'
      and not exists (
        select
        from schemas
        where schemas.oid = namespaces.oid
          and pg_has_role(session_user, schemas.nspowner, 'member')
    )
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
    union
    select
        10,
        'may pass on its rights to ' || quote_ident(tables.relname)
    from tables
    join pg_class as classes
        on classes.oid = tables.oid
    cross join aclexplode(classes.relacl) as acl
    join reach
        on reach.oid = acl.grantee
    where acl.is_grantable
      and not pg_has_role(session_user, tables.relowner, 'member')
    union
    select
        11,
        'may run ' || quote_ident(namespaces.nspname) || '.' || quote_ident(functions.proname)
        || ' as ' || quote_ident(pg_get_userbyid(functions.proowner))
    from pg_proc as functions
    join pg_namespace as namespaces
        on namespaces.oid = functions.pronamespace
    cross join reach
    where functions.prosecdef
      -- A trigger's is called by nobody.
      and functions.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
      and namespaces.nspname <> 'pg_catalog'
      and not pg_has_role(session_user, functions.proowner, 'member')
      and has_schema_privilege(reach.oid, namespaces.oid, 'usage')
      and has_function_privilege(reach.oid, functions.oid, 'execute')
      -- Those of an extension are meant to be called.
      and not exists (
        select
        from pg_depend as dependencies
        where dependencies.classid = 'pg_proc'::regclass
          and dependencies.objid = functions.oid
          and dependencies.deptype = 'e'
    )
    union
    select
        12,
        inner_rights.power
    from inner_rights
    join reach
        on reach.oid = inner_rights.grantee
    -- What PostgreSQL's own roles may is told by their names.
    where not reach.rolname ^@ 'pg_'
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

-- name: list_parameter_powers()
-- The settings that only a superuser could change, and somebody was given: the triggers and foreign keys
-- of a session are switched off by one, and programs are run by others. Since 15; apart, as an older
-- server does not know the table.
select distinct
    'may '
    || case acl.privilege_type
        when 'SET' then 'set '
        else 'set for the whole server '
    end
    || parameters.parname as power
from pg_parameter_acl as parameters
cross join aclexplode(parameters.paracl) as acl
where case acl.grantee
    when 0 then true
    else pg_has_role(session_user, acl.grantee, 'member')
end
  and not exists (
    select
    from pg_roles as others
    where others.rolsuper
      and pg_has_role(session_user, others.oid, 'member')
)
order by power;
