-- Who changed the schema, as the server recorded it, and whether it still records.

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
-- trigger on the table could swallow rows, a rule too, and a right could change them.
select
    (
        select pg_roles.oid is not null
        from pg_roles
        where pg_roles.rolname = 'flagstone_auditor'
    ) as has_role,
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
    coalesce(tables.rights, '{}') as table_rights,
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
            select 'row security'
            where pg_class.relrowsecurity
        ) as extras,
        array(
            select
                case granted.grantee when 0 then 'public' else pg_get_userbyid(granted.grantee) end
                || ' ' || lower(granted.privilege_type)
            from aclexplode(pg_class.relacl) as granted
            where granted.grantee <> pg_class.relowner
            order by 1
        ) as rights
    from pg_class
    where pg_class.relnamespace = audit.namespace
      and pg_class.relname = 'schema_audit'
) as tables
    on true;
