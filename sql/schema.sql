-- Schema changes: expected (schema_fingerprints), recorded (schema_audit), and found in the catalogs.
-- Owner: schema/.

-- name: has_expected_schema()$
-- An older schema has no such table.
select to_regclass('flagstone.schema_fingerprints') is not null;

-- name: find_expected_schema()^
-- What the last migration, or an operator, has left behind; without the facts, which are long.
select
    id,
    migration,
    fingerprint,
    server_version,
    recording
from schema_fingerprints
order by id desc
limit 1;

-- name: get_expected_facts(id)$
select facts
from schema_fingerprints
where id = :id;

-- name: hash_expected_schemas(last)^
-- One hash over every expectation up to that one, in words that no setting and no release of
-- PostgreSQL puts otherwise. The caller pins the path.
select
    max(id) as id,
    encode(sha256(string_agg(sha256(convert_to(line, 'utf8')), ''::bytea order by id)), 'hex') as hash
from (
    select
        id,
        jsonb_build_array(
            id,
            to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
            action,
            migration,
            instance,
            session_role,
            server_version,
            encode(fingerprint, 'hex'),
            facts,
            drifted,
            recording,
            message
        )::text as line
    from flagstone.schema_fingerprints
    where id <= :last::bigint
) as expectations;

-- name: list_schema_changes(before, page_size)
-- The latest first; `before` is the id that the last page ended with.
select
    id,
    at,
    session_role,
    acting_role,
    application,
    client,
    tag,
    object_type,
    object,
    is_direct,
    statement
from flagstone_audit.schema_audit
where id < :before
order by id desc
limit :page_size;

-- name: get_schema_recording()^
-- Everything on which the recording depends, for whoever may read catalogs: that is everybody. A
-- trigger on the table could swallow rows, a rule too, a right could change them, a child add to
-- them, and another default could lie.
select
    (
        select pg_roles.oid is not null
        from pg_roles
        where pg_roles.rolname = 'flagstone_auditor'
    ) as has_role,
    (
        select pg_roles.rolcanlogin
        from pg_roles
        where pg_roles.rolname = 'flagstone_auditor'
    ) as role_logs_in,
    (
        select pg_get_userbyid(pg_namespace.nspowner)::text
        from pg_namespace
        where pg_namespace.nspname = 'flagstone_audit'
    ) as schema_owner,
    functions.source,
    functions.owner as function_owner,
    functions.traits as function_traits,
    tables.owner as table_owner,
    coalesce(tables.extras, '{}') as table_extras,
    tables.columns as table_columns,
    array(
        select
            concat_ws(
                ' ',
                owned.what,
                case granted.grantee when 0 then 'public' else pg_get_userbyid(granted.grantee) end,
                lower(granted.privilege_type) || owned.part
            )
        from (
            select 'schema', '', pg_namespace.nspowner, pg_namespace.nspacl
            from pg_namespace
            where pg_namespace.oid = audit.namespace
            union all
            select
                case pg_class.relkind when 'S' then 'sequence' else 'table' end,
                '',
                pg_class.relowner,
                pg_class.relacl
            from pg_class
            where pg_class.relnamespace = audit.namespace
              and pg_class.relname in ('schema_audit', 'schema_audit_id_seq')
            union all
            select
                'table',
                '(' || quote_ident(pg_attribute.attname) || ')',
                pg_class.relowner,
                pg_attribute.attacl
            from pg_class
            join pg_attribute
                on pg_attribute.attrelid = pg_class.oid
            where pg_class.relnamespace = audit.namespace
              and pg_class.relname = 'schema_audit'
        ) as owned (what, part, owner, acl)
        cross join aclexplode(owned.acl) as granted
        where granted.grantee <> owned.owner
        order by 1
    ) as rights,
    coalesce(tables.is_readable, false) as is_readable,
    array(
        select
            concat_ws(
                ' ',
                pg_event_trigger.evtname,
                pg_event_trigger.evtevent,
                pg_event_trigger.evtenabled,
                array_to_string(pg_event_trigger.evttags, ',')
            )
        from pg_event_trigger
        where pg_event_trigger.evtfoid = functions.oid
        order by 1
    ) as triggers,
    array(
        select pg_roles.rolname::text
        from pg_roles
        join pg_roles as auditors
            on auditors.rolname = 'flagstone_auditor'
        where pg_roles.rolname in (
            'flagstone_owner',
            'flagstone_migrator',
            'flagstone_app',
            'flagstone_readonly',
            'flagstone_backup'
        )
          and pg_has_role(pg_roles.oid, auditors.oid, 'member')
          and not pg_roles.rolsuper
        union
        -- Whoever else. Since 16 the administrator who made it administers it, and is no more.
        select pg_roles.rolname::text
        from pg_auth_members
        join pg_roles
            on pg_roles.oid = pg_auth_members.member
        join pg_roles as auditors
            on auditors.oid = pg_auth_members.roleid
           and auditors.rolname = 'flagstone_auditor'
        where not pg_roles.rolsuper
          and to_jsonb(pg_auth_members) @> '{"set_option": false, "inherit_option": false}' is false
        order by 1
    ) as members
from (values (to_regnamespace('flagstone_audit'))) as audit (namespace)
left join lateral (
    select
        pg_proc.oid,
        pg_proc.prosrc as source,
        pg_get_userbyid(pg_proc.proowner)::text as owner,
        concat_ws(
            ' ',
            pg_language.lanname,
            case when pg_proc.prosecdef then 'definer' end,
            case when pg_proc.provolatile = 'v' then 'volatile' end,
            array_to_string(pg_proc.proconfig, ';')
        ) as traits
    from pg_proc
    join pg_language
        on pg_language.oid = pg_proc.prolang
    where pg_proc.pronamespace = audit.namespace
      and pg_proc.proname = 'record_ddl'
      and pg_proc.pronargs = 0
) as functions
    on true
left join lateral (
    select
        pg_get_userbyid(pg_class.relowner)::text as owner,
        has_schema_privilege(pg_class.relnamespace, 'usage')
            and has_table_privilege(pg_class.oid, 'select') as is_readable,
        array(
            select 'trigger ' || quote_ident(pg_trigger.tgname)
            from pg_trigger
            where pg_trigger.tgrelid = pg_class.oid
            union all
            select 'rule ' || quote_ident(pg_rewrite.rulename)
            from pg_rewrite
            where pg_rewrite.ev_class = pg_class.oid
            union all
            select 'child ' || named.identity
            from pg_inherits
            cross join pg_identify_object('pg_class'::regclass, pg_inherits.inhrelid, 0) as named
            where pg_inherits.inhparent = pg_class.oid
            union all
            select 'row security'
            where pg_class.relrowsecurity
            union all
            select 'storage that a crash empties'
            where pg_class.relpersistence = 'u'
        ) as extras,
        array(
            select
                concat_ws(
                    ' ',
                    pg_attribute.attname,
                    format_type(pg_attribute.atttypid, pg_attribute.atttypmod),
                    case when not pg_attribute.attnotnull then 'null' end,
                    nullif(pg_attribute.attidentity, ''),
                    pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid)
                )
            from pg_attribute
            left join pg_attrdef
                on pg_attrdef.adrelid = pg_attribute.attrelid
               and pg_attrdef.adnum = pg_attribute.attnum
            where pg_attribute.attrelid = pg_class.oid
              and pg_attribute.attnum > 0
              and not pg_attribute.attisdropped
            union all
            select pg_get_constraintdef(pg_constraint.oid)
            from pg_constraint
            where pg_constraint.conrelid = pg_class.oid
              and pg_constraint.contype <> 'n'
        ) as columns
    from pg_class
    where pg_class.relnamespace = audit.namespace
      and pg_class.relname = 'schema_audit'
) as tables
    on true;

-- name: list_schema_facts()
-- Only what two databases of equal shape have in common: names instead of numbers, no positions, no
-- statistics, and not the not null constraints that 18 has beside the columns' own marks. Not what
-- provisioning gives by default either, which may be repeated at any time. Nobody needs a right to
-- read it. The caller pins what would render it otherwise: see fingerprint.py.
with relations as (
    select
        pg_class.oid,
        pg_class.relkind,
        pg_class.relowner,
        pg_class.relacl,
        quote_ident(pg_class.relname) as name,
        case pg_class.relkind
            when 'r' then 'table'
            when 'p' then 'partitioned table'
            when 'v' then 'view'
            when 'm' then 'materialized view'
            when 'S' then 'sequence'
            when 'c' then 'composite type'
            else 'foreign table'
        end as kind
    from pg_class
    where pg_class.relnamespace = to_regnamespace('flagstone')
      and pg_class.relkind in ('r', 'p', 'v', 'm', 'S', 'c', 'f')
),

-- What was granted, and what an owner and the public have by themselves.
rights as (
    select
        'schema' as what,
        pg_namespace.nspowner as owner,
        coalesce(pg_namespace.nspacl, acldefault('n', pg_namespace.nspowner)) as acl
    from pg_namespace
    where pg_namespace.nspname = 'flagstone'
    union all
    select
        relations.kind || ' ' || relations.name,
        relations.relowner,
        coalesce(
            relations.relacl,
            acldefault(
                case when relations.relkind = 'S' then 's'::"char" else 'r'::"char" end,
                relations.relowner
            )
        )
    from relations
    where relations.relkind <> 'c'
    union all
    select
        'column ' || relations.name || '.' || quote_ident(pg_attribute.attname),
        relations.relowner,
        pg_attribute.attacl
    from relations
    join pg_attribute
        on pg_attribute.attrelid = relations.oid
       and pg_attribute.attacl is not null
    union all
    select
        'function ' || pg_proc.oid::regprocedure::text,
        pg_proc.proowner,
        coalesce(pg_proc.proacl, acldefault('f', pg_proc.proowner))
    from pg_proc
    where pg_proc.pronamespace = to_regnamespace('flagstone')
    union all
    select
        'type ' || quote_ident(pg_type.typname),
        pg_type.typowner,
        coalesce(pg_type.typacl, acldefault('T', pg_type.typowner))
    from pg_type
    where pg_type.typnamespace = to_regnamespace('flagstone')
      and pg_type.typtype in ('e', 'd', 'r')
    union all
    select
        concat_ws(
            ' ',
            'default of',
            pg_default_acl.defaclobjtype::text,
            'by',
            pg_get_userbyid(pg_default_acl.defaclrole),
            case when pg_default_acl.defaclnamespace = 0 then 'everywhere' end
        ),
        case
            when pg_default_acl.defaclnamespace = 0 then pg_default_acl.defaclrole
            else 0
        end,
        pg_default_acl.defaclacl
    from pg_default_acl
    where pg_default_acl.defaclnamespace = to_regnamespace('flagstone')
       or pg_default_acl.defaclnamespace = 0
      and pg_get_userbyid(pg_default_acl.defaclrole) = 'flagstone_owner'
)

select 'schema owner ' || pg_get_userbyid(pg_namespace.nspowner) as fact
from pg_namespace
where pg_namespace.nspname = 'flagstone'
union all
select
    concat_ws(
        ' ',
        relations.kind,
        relations.name,
        'owner',
        pg_get_userbyid(pg_class.relowner),
        case pg_class.relpersistence when 'u' then 'unlogged' end,
        case when pg_class.relrowsecurity then 'row security' end,
        case when pg_class.relforcerowsecurity then 'forced row security' end,
        case pg_class.relreplident
            when 'n' then case when pg_class.relkind in ('r', 'p') then 'replica identity nothing' end
            when 'f' then 'replica identity full'
        end,
        'with ' || nullif(array_to_string(pg_class.reloptions, ', '), ''),
        'partition ' || pg_get_expr(pg_class.relpartbound, pg_class.oid),
        'partitioned by ' || pg_get_partkeydef(pg_class.oid),
        'as '
            || case
                when pg_class.relkind in ('v', 'm')
                then encode(sha256(convert_to(pg_get_viewdef(pg_class.oid), 'UTF8')), 'hex')
            end
    )
from relations
join pg_class
    on pg_class.oid = relations.oid
union all
select
    'table ' || pg_inherits.inhrelid::regclass::text
    || ' inherits ' || pg_inherits.inhparent::regclass::text
from pg_inherits
join pg_class
    on pg_class.oid = pg_inherits.inhrelid
   and pg_class.relkind in ('r', 'p', 'f')
where pg_inherits.inhrelid in (select relations.oid from relations)
   or pg_inherits.inhparent in (select relations.oid from relations)
union all
-- Where rows go without being asked for.
select 'publication ' || quote_ident(pubname) || ' of ' || quote_ident(tablename)
from pg_publication_tables
where schemaname = 'flagstone'
union all
select
    concat_ws(
        ' ',
        'column ' || relations.name || '.' || quote_ident(pg_attribute.attname),
        format_type(pg_attribute.atttypid, pg_attribute.atttypmod),
        'collate '
            || case
                when pg_attribute.attcollation <> pg_type.typcollation
                then pg_attribute.attcollation::regcollation::text
            end,
        case when pg_attribute.attnotnull then 'not null' end,
        case pg_attribute.attidentity
            when 'a' then 'generated always as identity'
            when 'd' then 'generated by default as identity'
        end,
        case when pg_attribute.attgenerated = '' then 'default' else 'generated' end
            || ' ' || pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid)
    )
from relations
join pg_attribute
    on pg_attribute.attrelid = relations.oid
   and pg_attribute.attnum > 0
   and not pg_attribute.attisdropped
join pg_type
    on pg_type.oid = pg_attribute.atttypid
left join pg_attrdef
    on pg_attrdef.adrelid = pg_attribute.attrelid
   and pg_attrdef.adnum = pg_attribute.attnum
where relations.relkind <> 'S'
union all
select
    concat_ws(
        ' ',
        'constraint',
        coalesce(
            pg_constraint.conrelid::regclass::text,
            pg_constraint.contypid::regtype::text
        ) || '.' || quote_ident(pg_constraint.conname),
        pg_get_constraintdef(pg_constraint.oid)
    )
from (
    select
        constraints.oid,
        constraints.conname,
        constraints.contype,
        constraints.convalidated,
        nullif(constraints.conrelid, 0) as conrelid,
        nullif(constraints.contypid, 0) as contypid
    from pg_constraint as constraints
    where constraints.connamespace = to_regnamespace('flagstone')
) as pg_constraint
-- Of a column that is marked and yet may hold nulls from before, there is nothing else.
where pg_constraint.contype <> 'n'
   or not pg_constraint.convalidated
union all
select
    concat_ws(
        ' ',
        'index',
        pg_get_indexdef(pg_index.indexrelid),
        case
            when not (pg_index.indisvalid and pg_index.indisready and pg_index.indislive)
            then 'invalid'
        end,
        case when pg_index.indisreplident then 'replica identity' end
    )
from pg_index
join relations
    on relations.oid = pg_index.indrelid
union all
select
    concat_ws(
        ' ',
        'sequence',
        relations.name,
        format_type(pg_sequence.seqtypid, null),
        'start', pg_sequence.seqstart,
        'by', pg_sequence.seqincrement,
        'from', pg_sequence.seqmin,
        'to', pg_sequence.seqmax,
        'cache', pg_sequence.seqcache,
        case when pg_sequence.seqcycle then 'cycle' end,
        'of ' || pg_depend.refobjid::regclass::text || '.' || quote_ident(pg_attribute.attname)
    )
from relations
join pg_sequence
    on pg_sequence.seqrelid = relations.oid
left join pg_depend
    on pg_depend.classid = 'pg_class'::regclass
   and pg_depend.objid = relations.oid
   and pg_depend.refclassid = 'pg_class'::regclass
   and pg_depend.deptype in ('a', 'i')
left join pg_attribute
    on pg_attribute.attrelid = pg_depend.refobjid
   and pg_attribute.attnum = pg_depend.refobjsubid
union all
select
    concat_ws(
        ' ',
        'function',
        pg_proc.oid::regprocedure::text,
        'owner',
        pg_get_userbyid(pg_proc.proowner),
        'returns',
        pg_get_function_result(pg_proc.oid),
        'kind ' || pg_proc.prokind::text,
        'volatility ' || pg_proc.provolatile::text,
        case when pg_proc.prosecdef then 'security definer' end,
        'set ' || nullif(array_to_string(pg_proc.proconfig, ', '), ''),
        'source',
        encode(
            sha256(
                convert_to(
                    concat_ws(
                        ' ',
                        pg_language.lanname,
                        pg_proc.prosrc,
                        pg_proc.probin,
                        -- Where the body of a function in standard SQL is; an aggregate has none.
                        case when pg_proc.prokind <> 'a' then pg_get_functiondef(pg_proc.oid) end
                    ),
                    'UTF8'
                )
            ),
            'hex'
        )
    )
from pg_proc
join pg_language
    on pg_language.oid = pg_proc.prolang
where pg_proc.pronamespace = to_regnamespace('flagstone')
union all
select
    concat_ws(
        ' ',
        case pg_type.typtype when 'e' then 'enum' when 'd' then 'domain' else 'range' end,
        quote_ident(pg_type.typname),
        'owner',
        pg_get_userbyid(pg_type.typowner),
        case
            when pg_type.typtype = 'd' then format_type(pg_type.typbasetype, pg_type.typtypmod)
        end,
        case when pg_type.typnotnull then 'not null' end,
        'default ' || pg_type.typdefault,
        (
            select '(' || string_agg(quote_ident(pg_enum.enumlabel), ', ' order by pg_enum.enumsortorder) || ')'
            from pg_enum
            where pg_enum.enumtypid = pg_type.oid
        )
    )
from pg_type
where pg_type.typnamespace = to_regnamespace('flagstone')
  and pg_type.typtype in ('e', 'd', 'r')
union all
select
    concat_ws(
        ' ',
        'trigger',
        relations.name || '.' || quote_ident(pg_trigger.tgname),
        pg_get_triggerdef(pg_trigger.oid),
        'state ' || pg_trigger.tgenabled::text
    )
from pg_trigger
join relations
    on relations.oid = pg_trigger.tgrelid
where not pg_trigger.tgisinternal
union all
-- Those that enforce a constraint have numbers for names, and are of interest only when they do not.
select distinct 'constraint ' || quote_ident(pg_constraint.conname) || ' is not enforced'
from pg_trigger
join relations
    on relations.oid = pg_trigger.tgrelid
join pg_constraint
    on pg_constraint.oid = pg_trigger.tgconstraint
where pg_trigger.tgisinternal
  and pg_trigger.tgenabled <> 'O'
union all
select
    concat_ws(
        ' ',
        'rule',
        relations.name,
        pg_get_ruledef(pg_rewrite.oid),
        'state ' || pg_rewrite.ev_enabled::text
    )
from pg_rewrite
join relations
    on relations.oid = pg_rewrite.ev_class
where pg_rewrite.rulename <> '_RETURN'
union all
select
    concat_ws(
        ' ',
        'policy',
        relations.name || '.' || quote_ident(pg_policy.polname),
        case when pg_policy.polpermissive then 'permissive' else 'restrictive' end,
        'for ' || pg_policy.polcmd::text,
        (
            select
                'to '
                || string_agg(
                    coalesce(pg_roles.rolname::text, 'public'), ', ' order by pg_roles.rolname
                )
            from unnest(pg_policy.polroles) as named (role)
            left join pg_roles
                on pg_roles.oid = named.role
        ),
        'using ' || pg_get_expr(pg_policy.polqual, pg_policy.polrelid),
        'with check ' || pg_get_expr(pg_policy.polwithcheck, pg_policy.polrelid)
    )
from pg_policy
join relations
    on relations.oid = pg_policy.polrelid
union all
select
    concat_ws(
        ' ',
        'grant on',
        rights.what,
        'to',
        case granted.grantee when 0 then 'public' else pg_get_userbyid(granted.grantee) end || ':',
        string_agg(
            lower(granted.privilege_type)
                || case when granted.is_grantable then ' with grant option' else '' end,
            ', '
            order by granted.privilege_type, granted.is_grantable
        )
    )
from rights
cross join aclexplode(rights.acl) as granted
-- From 17 on an owner has it by itself.
where (granted.privilege_type <> 'MAINTAIN' or granted.grantee <> rights.owner)
  and not (
      granted.privilege_type = 'SELECT'
      and rights.what in ('default of r by flagstone_owner', 'default of S by flagstone_owner')
      and pg_get_userbyid(granted.grantee) = 'flagstone_backup'
  )
  and not (
      rights.what = 'default of f by flagstone_owner everywhere'
      and granted.grantee = rights.owner
  )
group by rights.what, granted.grantee
union all
-- Whatever else may be in a schema, by its name alone.
select 'object ' || named.type || ' ' || named.identity
from pg_depend
cross join pg_identify_object(pg_depend.classid, pg_depend.objid, pg_depend.objsubid) as named
where pg_depend.refclassid = 'pg_namespace'::regclass
  and pg_depend.refobjid = to_regnamespace('flagstone')
  and pg_depend.classid not in (
    'pg_class'::regclass,
    'pg_type'::regclass,
    'pg_proc'::regclass,
    'pg_constraint'::regclass,
    'pg_default_acl'::regclass
);
