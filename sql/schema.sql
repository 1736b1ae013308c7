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
-- One row for each object as PostgreSQL prints it, and one for each grantee's rights to it. No row has
-- an OID, so two databases of equal shape give equal rows. Every role may run it. The caller pins the
-- settings that change how PostgreSQL prints: see fingerprint.py.
with relations as (
    select pg_class.oid, relkind, relowner, relacl, type as kind, pg_class.oid::regclass::text as name,
        concat_ws(' ',
            case when relpersistence = 'u' then 'unlogged' end,
            case when relrowsecurity then 'row security' end, case when relforcerowsecurity then 'forced' end,
            'replica identity ' || case when relkind in ('r', 'p') then nullif(relreplident::text, 'd') end,
            'with ' || array_to_string(reloptions, ', '),
            'partition ' || pg_get_expr(relpartbound, pg_class.oid), 'by ' || pg_get_partkeydef(pg_class.oid),
            'as ' || case when relkind in ('v', 'm') then pg_get_viewdef(pg_class.oid) end
        ) as definition
    from pg_class, pg_identify_object('pg_class'::regclass, pg_class.oid, 0)
    where relnamespace = to_regnamespace('flagstone') and relkind not in ('i', 'I')
), objects (kind, name, definition, owner, acl) as (
    select 'schema', nspname::text, null, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    from pg_namespace where nspname = 'flagstone'
    union all select kind, name, nullif(definition, ''), relowner, case when relkind <> 'c' then coalesce(
        relacl, acldefault(case relkind when 'S' then 's'::"char" else 'r' end, relowner)) end from relations
    union all select 'column', name || '.' || quote_ident(attname), concat_ws(' ',
        format_type(atttypid, atttypmod),
        'collate ' || case when attcollation <> typcollation then attcollation::regcollation::text end,
        case when attnotnull then 'not null' end, 'identity ' || nullif(attidentity::text, ''),
        case attgenerated when '' then 'default ' else 'generated ' end || pg_get_expr(adbin, adrelid)
    ), null, attacl
    from relations join pg_attribute on attrelid = relations.oid and attnum > 0 and not attisdropped
    join pg_type on pg_type.oid = atttypid left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where relkind <> 'S'
    union all select 'function', oid::regprocedure::text,
        case prokind when 'a' then pg_get_function_result(oid) else pg_get_functiondef(oid) end,
        proowner, coalesce(proacl, acldefault('f', proowner))
    from pg_proc where pronamespace = to_regnamespace('flagstone')
    union all select 'type', oid::regtype::text, concat_ws(' ', typtype,
        case typtype when 'd' then format_type(typbasetype, typtypmod) end, case when typnotnull then 'not null' end,
        'default ' || typdefault, array(select enumlabel from pg_enum where enumtypid = pg_type.oid order by enumsortorder)
    ), typowner, coalesce(typacl, acldefault('T', typowner))
    from pg_type where typnamespace = to_regnamespace('flagstone') and typtype in ('e', 'd', 'r')
    union all select 'default of', concat_ws(' ', defaclobjtype, 'by', pg_get_userbyid(defaclrole),
        case defaclnamespace when 0 then 'everywhere' end), null, defaclrole, defaclacl
    from pg_default_acl where defaclnamespace = to_regnamespace('flagstone')
        or defaclnamespace = 0 and pg_get_userbyid(defaclrole) = 'flagstone_owner'
), grants (kind, name, grantee, privilege) as (
    select kind, name, case grantee when 0 then 'public' else pg_get_userbyid(grantee) end,
        lower(privilege_type) || case when is_grantable then ' with grant option' else '' end
    from objects, aclexplode(acl)
    -- Since 17 an owner has MAINTAIN by default.
    where privilege_type <> 'MAINTAIN' or grantee is distinct from owner
)
select concat_ws(' ', kind, name, 'owner ' || pg_get_userbyid(owner), definition) as fact
from objects where kind <> 'default of'
union all select concat_ws(' ', 'grant on', kind, name, 'to', grantee || ':',
    string_agg(privilege, ', ' order by privilege))
from grants
-- `database provision` may give these at any time.
where (name, grantee, privilege) not in (('r by flagstone_owner', 'flagstone_backup', 'select'),
    ('S by flagstone_owner', 'flagstone_backup', 'select'),
    ('f by flagstone_owner everywhere', 'flagstone_owner', 'execute'))
group by kind, name, grantee
-- The column shows a valid NOT NULL, which has no constraint before 18.
union all select concat_ws(' ', type, identity, pg_get_constraintdef(oid), (select distinct 'not enforced'
    from pg_trigger where tgconstraint = pg_constraint.oid and tgisinternal and tgenabled <> 'O'))
from pg_constraint, pg_identify_object('pg_constraint'::regclass, oid, 0)
where connamespace = to_regnamespace('flagstone') and (contype <> 'n' or not convalidated)
union all select concat_ws(' ', 'index', pg_get_indexdef(indexrelid),
    case when not (indisvalid and indisready and indislive) then 'invalid' end,
    case when indisreplident then 'replica identity' end)
from pg_index join relations on oid = indrelid
union all select concat_ws(' ', 'sequence', seqrelid::regclass, to_jsonb(pg_sequence) - 'seqrelid' - 'seqtypid',
    format_type(seqtypid, null), (select 'of ' || identity
        from pg_depend, pg_identify_object(refclassid, refobjid, refobjsubid)
        where classid = 'pg_class'::regclass and objid = seqrelid and deptype in ('a', 'i')))
from pg_sequence where seqrelid in (select oid from relations)
union all select concat_ws(' ', 'trigger', name, pg_get_triggerdef(pg_trigger.oid), 'state', tgenabled)
from pg_trigger join relations on relations.oid = tgrelid where not tgisinternal
union all select concat_ws(' ', 'rule', name, pg_get_ruledef(pg_rewrite.oid), 'state', ev_enabled)
from pg_rewrite join relations on relations.oid = ev_class where rulename <> '_RETURN'
union all select concat_ws(' ', 'policy', to_jsonb(pg_policies) - 'schemaname')
from pg_policies where schemaname = 'flagstone'
union all select concat_ws(' ', 'table', inhrelid::regclass, 'inherits', inhparent::regclass) from pg_inherits
where exists (select from relations where oid in (inhrelid, inhparent))
union all select concat_ws(' ', 'publication', quote_ident(pubname), 'of', quote_ident(tablename))
from pg_publication_tables where schemaname = 'flagstone'
union all select concat_ws(' ', type, identity) from pg_depend, pg_identify_object(classid, objid, objsubid)
where refclassid = 'pg_namespace'::regclass and refobjid = to_regnamespace('flagstone') and classid::regclass::text
    not in ('pg_class', 'pg_type', 'pg_proc', 'pg_constraint', 'pg_default_acl');
