-- Schema changes: expected (schema_fingerprints), recorded (schema_audit), and found in the catalogs.
-- Owner: schema/.

-- name: has_expected_schema()$
-- Older schemas do not have the table.
select to_regclass('flagstone.schema_fingerprints') is not null;

-- name: find_expected_schema()^
-- The schema that the last migration or an operator stored.
select
    migration,
    facts,
    server_version,
    recording
from schema_fingerprints
order by id desc
limit 1;

-- name: hash_expected_schemas(last)^
-- One hash over all expected schemas up to `last`. No setting and no release of PostgreSQL changes
-- the text. The caller sets the search path.
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
-- Latest first; `before` is the last id of the previous page.
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
-- Everything that the recording of schema changes depends on. A trigger, a rule or row security could
-- drop its rows, a right could change them, a child table could add rows, and another default could
-- write a wrong value. Every role may run it.
with audit as (
    select oid, nspowner, nspacl from pg_namespace where nspname = 'flagstone_audit'
), auditor as (
    select oid, rolcanlogin from pg_roles where rolname = 'flagstone_auditor'
), trail as (
    select pg_class.oid, relnamespace, relowner, relacl, relrowsecurity, relpersistence
    from pg_class join audit on audit.oid = relnamespace and relname = 'schema_audit'
), recorder as (
    select pg_proc.oid, prosrc, proowner, concat_ws(
        ' ', lanname, case when prosecdef then 'definer' end, case provolatile when 'v' then 'volatile' end,
        array_to_string(proconfig, ';')) as traits
    from pg_proc join audit on audit.oid = pronamespace join pg_language on pg_language.oid = prolang
    where proname = 'record_ddl' and pronargs = 0
), securables (kind, part, owner, acl) as (
    select 'schema', '', nspowner, nspacl from audit
    union all select 'table', '', relowner, relacl from trail
    union all select 'sequence', '', relowner, relacl
    from pg_class join audit on audit.oid = relnamespace and relname = 'schema_audit_id_seq'
    union all select 'table', '(' || quote_ident(attname) || ')', relowner, attacl
    from trail join pg_attribute on attrelid = trail.oid
)
select
    exists (select from auditor) as has_role,
    (select rolcanlogin from auditor) as role_logs_in,
    (select pg_get_userbyid(nspowner)::text from audit) as schema_owner,
    (select prosrc from recorder) as source,
    (select pg_get_userbyid(proowner)::text from recorder) as function_owner,
    (select traits from recorder) as function_traits,
    (select pg_get_userbyid(relowner)::text from trail) as table_owner,
    array(
        select 'trigger ' || quote_ident(tgname) from pg_trigger join trail on trail.oid = tgrelid
        union all select 'rule ' || quote_ident(rulename) from pg_rewrite join trail on trail.oid = ev_class
        union all select 'child ' || identity
        from pg_inherits join trail on trail.oid = inhparent, pg_identify_object('pg_class'::regclass, inhrelid, 0)
        union all select 'row security' from trail where relrowsecurity
        union all select 'storage that a crash empties' from trail where relpersistence = 'u'
    ) as table_extras,
    array(
        select concat_ws(' ', attname, format_type(atttypid, atttypmod), case when not attnotnull then 'null' end,
            nullif(attidentity, ''), pg_get_expr(adbin, adrelid))
        from trail join pg_attribute on attrelid = trail.oid and attnum > 0 and not attisdropped
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        union all select pg_get_constraintdef(pg_constraint.oid)
        from pg_constraint join trail on trail.oid = conrelid where contype <> 'n'
    ) as table_columns,
    array(
        select concat_ws(' ', kind, case grantee when 0 then 'public' else pg_get_userbyid(grantee) end,
            lower(privilege_type) || part)
        from securables, aclexplode(acl) where grantee <> owner order by 1
    ) as rights,
    coalesce((
        select has_schema_privilege(relnamespace, 'usage') and has_table_privilege(oid, 'select') from trail
    ), false) as is_readable,
    array(
        select concat_ws(' ', evtname, evtevent, evtenabled, array_to_string(evttags, ','))
        from pg_event_trigger join recorder on recorder.oid = evtfoid order by 1
    ) as triggers,
    array(
        select rolname::text from pg_roles, auditor
        where pg_has_role(pg_roles.oid, auditor.oid, 'member') and not rolsuper and rolname in (
            'flagstone_owner', 'flagstone_migrator', 'flagstone_app', 'flagstone_readonly', 'flagstone_backup')
        -- Since 16 the administrator who created a role may grant it, but is not a member of it.
        union select rolname::text
        from pg_auth_members join auditor on auditor.oid = roleid join pg_roles on pg_roles.oid = member
        where not rolsuper
            and to_jsonb(pg_auth_members) @> '{"set_option": false, "inherit_option": false}' is false
        order by 1
    ) as members;

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
