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
