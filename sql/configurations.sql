-- Configurations as they are now; `write_change_sets` in changes.sql writes them.
-- Owner: configuration/entries/.

-- name: find_configuration(environment, key)^
-- Returns a row if the environment exists, so a missing environment differs from a missing key.
-- Entry and revision are of the same moment. `is_last_change` is false for an entry that is not of the
-- last change of its key: it was changed by hand, for example restored from an old row.
select
    environments.revision,
    environments.epoch::text as epoch,
    configurations.id::text as id,
    configurations.environment,
    configurations.key,
    configurations.kind,
    configurations.value,
    configurations.sealed,
    configurations.schema,
    configurations.description,
    configurations.version,
    configurations.updated_revision,
    configurations.created_at,
    configurations.updated_at,
    (
        select changes.revision = configurations.updated_revision
        from changes
        where changes.environment = environments.name
          and changes.key = :key
        order by changes.revision desc
        limit 1
    ) as is_last_change
from environments
left join configurations
    on configurations.environment = environments.name
    and configurations.key = :key
where environments.name = :environment
  and environments.deleted_at is null;

-- name: summarise_configurations()
-- One row per environment: count and size of entries, and the last change.
select
    environments.name,
    environments.revision,
    count(configurations.key) filter (where configurations.kind = 'setting') as settings,
    count(configurations.key) filter (where configurations.kind = 'flag') as flags,
    count(configurations.key) filter (where configurations.kind = 'segment') as segments,
    count(configurations.key) filter (where configurations.kind = 'secret') as secrets,
    coalesce(sum(octet_length(configurations.value::text)), 0)::bigint as value_bytes,
    coalesce(max(octet_length(configurations.value::text)), 0)::bigint as largest_bytes,
    last_change.created_at as last_changed_at,
    last_change.actor as last_actor
from environments
left join configurations
    on configurations.environment = environments.name
left join change_sets as last_change
    on last_change.environment = environments.name
    and last_change.revision = environments.revision
where environments.deleted_at is null
group by
    environments.name,
    last_change.environment,
    last_change.revision
order by environments.name;

-- name: list_keys(environment, kinds)
-- For an import that replaces an environment: keys that are not in the document are deleted.
select key
from configurations
where environment = :environment
  and kind = any(:kinds::text[])
order by key;

-- name: list_ambiguous_keys()
-- Keys with a segment that is empty, "." or "..": no new entry may have one.
select
    environment,
    key
from configurations
where key ~ '(^|/)\.{0,2}(/|$)'
order by
    environment,
    key;

-- name: lock_entries(environment, keys)
-- Locks the environment, so that its writers wait here and revisions have no gaps. Returns the
-- environment and, for each key, its entry. Without an entry there is only the last version of the key.
-- The entries are as of the start of the statement: if `is_current` is false, another writer has
-- committed while this one waited for the lock, and list_entries must read them again.
-- `keys` is JSON, because a plan for an array depends on its length and would not be reused.
with locked as materialized (
    select
        name,
        tier::text as tier,
        revision,
        first_revision,
        epoch::text as epoch,
        encode(hash, 'hex') as hash,
        protected,
        fractional,
        metadata,
        version,
        protection
    from environments
    where name = :environment
      and deleted_at is null
    for no key update
)
select
    locked.name,
    locked.tier,
    locked.revision,
    locked.first_revision,
    locked.epoch,
    locked.hash,
    locked.protected,
    locked.fractional,
    locked.metadata,
    locked.version as properties_version,
    locked.protection,
    current_timestamp as created_at,
    (locked.revision, locked.epoch) = (seen.revision, seen.epoch::text) as is_current,
    requested.key,
    entry.kind,
    entry.value,
    entry.sealed,
    entry.schema,
    entry.description,
    entry.version,
    last_change.before_version as last_version
from locked
join environments as seen
    on seen.name = locked.name
left join jsonb_array_elements_text(:keys::jsonb) as requested (key) on true
left join lateral (
    select
        configurations.kind,
        configurations.value,
        configurations.sealed,
        configurations.schema,
        configurations.description,
        configurations.version
    from configurations
    where configurations.environment = :environment
      and configurations.key = requested.key
    limit 1
) as entry on true
left join lateral (
    select changes.before_version
    from changes
    where entry.version is null
      and changes.environment = :environment
      and changes.key = requested.key
    order by changes.revision desc
    limit 1
) as last_change on true;

-- name: list_entries(environment, keys)
-- The entries that a change set will change, under the lock of lock_entries.
select
    key,
    kind,
    value,
    sealed,
    schema,
    description,
    version
from configurations
where environment = :environment
  and key = any(:keys::text[]);

-- name: list_guarded_flags(environment, keys, all_of_them)
-- Flags with guard cases: those with these keys, or all if a segment changed. Values are text,
-- since the service decodes one at a time in a thread.
select
    key,
    value::text as value
from configurations
where environment = :environment
  and kind = 'flag'
  and value ? 'guards'
  and (:all_of_them::boolean or key = any(:keys::text[]))
order by key;

-- name: list_reached_segments(environment, names, changed)
-- These segments and all that they refer to, directly or through others. Segments that the change
-- set touches are not followed: their new values are not stored yet. `union` returns a row once, so
-- a cycle ends.
with recursive reached (key, value) as (
    select
        segments.key,
        segments.value
    from configurations as segments
    where segments.environment = :environment
      and segments.kind = 'segment'
      and segments.key = any(:names::text[])
    union
    select
        segments.key,
        segments.value
    from reached
    cross join lateral (
        select jsonb_path_query(reached.value, '$.**."$ref"')
        union all
        select jsonb_path_query(reached.value, '$.**."in_list"[0]')
    ) as reference (name)
    join configurations as segments
        on segments.environment = :environment
        and segments.kind = 'segment'
        and segments.key = reference.name #>> '{}'
        and segments.key <> all(:changed::text[])
)
select
    reached.key,
    reached.value
from reached;

-- name: list_references(environment, segments, changed, page_size)
-- Entries that refer to these segments, except those that the change set touches. Only the
-- targeting of a flag and its plan can refer to a segment. The path finds references at any depth,
-- some of them twice.
select distinct
    configurations.key,
    reference.name #>> '{}' as segment
from configurations
cross join lateral (
    select
        case configurations.kind
            when 'flag' then jsonb_build_array(
                configurations.value -> 'targeting',
                configurations.value -> 'plan'
            )
            else configurations.value
        end as rule
) as own
cross join lateral (
    select jsonb_path_query(own.rule, '$.**."$ref"')
    union all
    select jsonb_path_query(own.rule, '$.**."in_list"[0]')
) as reference (name)
where configurations.environment = :environment
  and configurations.kind in ('flag', 'segment')
  and configurations.key <> all(:changed::text[])
  and reference.name #>> '{}' = any(:segments::text[])
order by
    configurations.key,
    segment
limit :page_size;

-- name: list_segment_users(environment, segments, changed)
-- Flags that use these segments, directly or through others, except those that the change set
-- touches. `union` returns a key once, so a cycle ends. Values are text, since the service decodes
-- one at a time in a thread.
with recursive referring as materialized (
    select
        configurations.key,
        reference.name #>> '{}' as segment
    from configurations
    cross join lateral (
        select
            case configurations.kind
                when 'flag' then jsonb_build_array(
                    configurations.value -> 'targeting',
                    configurations.value -> 'plan'
                )
                else configurations.value
            end as rule
    ) as own
    cross join lateral (
        select jsonb_path_query(own.rule, '$.**."$ref"')
        union all
        select jsonb_path_query(own.rule, '$.**."in_list"[0]')
    ) as reference (name)
    where configurations.environment = :environment
      and configurations.kind in ('flag', 'segment')
),
affected (key) as (
    select moved.key collate "C"
    from jsonb_array_elements_text(:segments::jsonb) as moved (key)
    union
    select referring.key
    from affected
    join referring on referring.segment = affected.key
)
select
    configurations.key,
    jsonb_build_object(
        'state', configurations.value -> 'state',
        'defaultVariant', configurations.value -> 'defaultVariant',
        'targeting', configurations.value -> 'targeting',
        'plan', configurations.value -> 'plan'
    )::text as definition
from affected
join configurations
    on configurations.environment = :environment
    and configurations.key = affected.key
where configurations.kind = 'flag'
  and configurations.key not in (
    select touched.key
    from jsonb_array_elements_text(:changed::jsonb) as touched (key)
  )
order by configurations.key;

-- name: list_all_entries(environment, after_key, page_size)
select
    id::text as id,
    key,
    kind,
    value,
    sealed is not null as sealed,
    schema,
    description,
    version,
    updated_revision,
    created_at,
    updated_at
from configurations
where environment = :environment
  and key > :after_key
order by key
limit :page_size;

-- name: list_entries_of_key(environments, key)
-- The entry of one key in several environments.
select
    id::text as id,
    environment,
    key,
    kind,
    value,
    sealed is not null as sealed,
    schema,
    description,
    version,
    updated_revision,
    created_at,
    updated_at
from configurations
where environment = any(:environments::text[])
  and key = :key;

-- name: count_entries_by_kind(environments)
select
    environment,
    kind,
    count(*) as entries
from configurations
where environment = any(:environments::text[])
group by environment, kind;

-- name: list_entry_origins(environment, after, page_size)
-- Each entry with its last change. Sealed values are compared by their commitments, since both may
-- have been resealed at different times. Times are text, since some have no Python equivalent.
select
    configurations.key,
    configurations.updated_revision,
    to_char(configurations.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US') as created_at,
    to_char(configurations.updated_at, 'YYYY-MM-DD"T"HH24:MI:SS.US') as updated_at,
    (
        configurations.kind,
        configurations.value,
        substr(configurations.sealed, 11, 32),
        configurations.schema,
        configurations.description,
        configurations.version
    ) is not distinct from (
        changes.after_kind,
        changes.after_value,
        substr(changes.after_sealed, 11, 32),
        changes.after_schema,
        changes.after_description,
        changes.after_version
    ) as is_same
from configurations
left join changes
    on changes.environment = configurations.environment
    and changes.revision = configurations.updated_revision
    and changes.key = configurations.key
where configurations.environment = :environment
  and configurations.key > :after
order by configurations.key
limit :page_size;

-- name: list_some_sealed(sample_size)
-- Some sealed values of each environment and data key: a missing key affects all of its values.
select
    ranked.environment,
    ranked.key,
    ranked.version,
    ranked.sealed
from (
    select
        configurations.environment,
        configurations.key,
        configurations.version,
        configurations.sealed,
        row_number() over (
            partition by
                configurations.environment,
                substr(configurations.sealed, 3, 8)
            order by configurations.updated_at desc
        ) as place
    from configurations
    where configurations.sealed is not null
) as ranked
order by
    ranked.place,
    ranked.environment,
    ranked.key
limit :sample_size;

-- name: lock_sealed_entries(environment, ids, batch_size)
-- Skip rows that another transaction is writing. They are found again at the end.
select
    key,
    version,
    sealed
from configurations
where environment = :environment
  and sealed is not null
  and substr(sealed, 3, 8) = any(:ids::bytea[])
limit :batch_size
for no key update skip locked;

-- name: reseal_entries(environment, keys, sealed)!
-- No version changes and no notification is sent: the value stays the same.
update configurations
set sealed = resealed.sealed
from unnest(:keys::text[], :sealed::bytea[]) as resealed (key, sealed)
where configurations.environment = :environment
  and configurations.key = resealed.key;

-- name: list_flag_users(environment, flags, changed)
-- Flags that need these flags, directly or through others, except those that the change set
-- touches. A flag needs another one where its JSON has a member `flag`: the key, or a list that
-- begins with the key. Some of the members are data of guards, which the service leaves out.
with recursive needing as materialized (
    select
        configurations.key,
        coalesce(need.arguments ->> 0, need.arguments #>> '{}') as flag
    from configurations
    cross join lateral jsonb_path_query(configurations.value, '$.**."flag"') as need (arguments)
    where configurations.environment = :environment
      and configurations.kind = 'flag'
),
affected (key) as (
    select needed.key collate "C"
    from jsonb_array_elements_text(:flags::jsonb) as needed (key)
    union
    select needing.key
    from affected
    join needing on needing.flag = affected.key
)
select
    configurations.key,
    configurations.value
from configurations
join affected on affected.key = configurations.key
where configurations.environment = :environment
  and configurations.kind = 'flag'
  and configurations.key not in (
    select touched.key
    from jsonb_array_elements_text(:changed::jsonb) as touched (key)
  );

-- name: list_needed_flags(environment, flags, changed)
-- These flags and all that they need, directly or through others, except those that the change set
-- touches.
with recursive needed (key, value) as (
    select
        flags.key,
        flags.value
    from configurations as flags
    where flags.environment = :environment
      and flags.kind = 'flag'
      and flags.key in (
        select asked.key
        from jsonb_array_elements_text(:flags::jsonb) as asked (key)
      )
    union
    select
        flags.key,
        flags.value
    from needed
    cross join lateral jsonb_path_query(needed.value, '$.**."flag"') as need (arguments)
    join configurations as flags
        on flags.environment = :environment
        and flags.kind = 'flag'
        and flags.key = coalesce(need.arguments ->> 0, need.arguments #>> '{}')
        and flags.key not in (
            select touched.key
            from jsonb_array_elements_text(:changed::jsonb) as touched (key)
        )
)
select
    needed.key,
    needed.value
from needed;
