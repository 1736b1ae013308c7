-- Change sets: the only way by which configurations come, change and go.

-- name: list_entries(environment, keys)
-- What a change set is about to touch. Read after advance_revision, whose lock keeps it true.
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

-- name: list_last_versions(environment, keys)
-- Of keys that have no entry. A key that is made again must not repeat an old version, or a client
-- that still holds the old one would overwrite what it has never seen.
select
    wanted.key,
    coalesce(last_change.before_version, 0) as last_version
from unnest(:keys::text[]) as wanted (key)
join lateral (
    select changes.before_version
    from changes
    where changes.environment = :environment
      and changes.key = wanted.key
    order by changes.revision desc
    limit 1
) as last_change on true;

-- name: list_reached_segments(environment, names, changed)
-- The segments of these names and all that they lead to, at any distance, in one statement. Those
-- that the change set touches are not followed, as what they will be is not here yet. A row comes once,
-- so a circle ends.
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
    cross join lateral jsonb_path_query(reached.value, '$.**."$ref"') as reference (name)
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
-- Who refers to these segments, apart from what the change set touches anyway. In a flag only its
-- targeting can refer; the path finds a reference at any depth, some of them twice.
select distinct
    configurations.key,
    reference.name #>> '{}' as segment
from configurations
cross join lateral jsonb_path_query(
    case configurations.kind
        when 'flag' then configurations.value -> 'targeting'
        else configurations.value
    end,
    '$.**."$ref"'
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
-- The flags that use these segments, directly or through others, apart from those that the change set
-- touches. `union` makes a key come once, so a circle ends. Rules are text, since the service decodes
-- one at a time, in a thread.
with recursive referring as materialized (
    select
        configurations.key,
        reference.name #>> '{}' as segment
    from configurations
    cross join lateral jsonb_path_query(
        case configurations.kind
            when 'flag' then configurations.value -> 'targeting'
            else configurations.value
        end,
        '$.**."$ref"'
    ) as reference (name)
    where configurations.environment = :environment
      and configurations.kind in ('flag', 'segment')
),
affected (key) as (
    select moved.key collate "C"
    from unnest(:segments::text[]) as moved (key)
    union
    select referring.key
    from affected
    join referring on referring.segment = affected.key
)
select
    configurations.key,
    (configurations.value -> 'targeting')::text as targeting
from affected
join configurations
    on configurations.environment = :environment
    and configurations.key = affected.key
where configurations.kind = 'flag'
  and configurations.key <> all(:changed::text[])
order by configurations.key;

-- name: insert_change_set(environment, revision, kind, actor, message, hash)$
-- Leaves its hash for the next one to follow on, in the row that is locked since advance_revision, and
-- announces itself: the notification is delivered at commit, with the rows that follow; whoever
-- misses it finds the revision by polling.
with chained as (
    update environments
    set hash = :hash
    where environments.name = :environment
),
made as (
    insert into change_sets (environment, revision, kind, actor, message, hash)
    values (:environment, :revision, :kind, :actor, :message, :hash)
    returning
        environment,
        revision
)
select pg_notify('flagstone', made.environment || ':' || made.revision)::text
from made;

-- name: write_changes(environment, revision, keys, before_kinds, before_values, before_sealed, before_schemas, before_descriptions, before_versions, after_kinds, after_values, after_sealed, after_schemas, after_descriptions, after_versions)!
-- What is true from now on and what was, in one statement: it is sent once, and neither can be
-- written without the other. A key without a version after the change is deleted by it.
with changed as (
    select
        unnested.key,
        unnested.before_kind,
        unnested.before_value,
        unnested.before_sealed,
        unnested.before_schema,
        unnested.before_description,
        unnested.before_version,
        unnested.after_kind,
        unnested.after_value,
        unnested.after_sealed,
        unnested.after_schema,
        unnested.after_description,
        unnested.after_version
    from unnest(
        :keys::text[],
        :before_kinds::text[],
        :before_values::jsonb[],
        :before_sealed::bytea[],
        :before_schemas::jsonb[],
        :before_descriptions::text[],
        :before_versions::bigint[],
        :after_kinds::text[],
        :after_values::jsonb[],
        :after_sealed::bytea[],
        :after_schemas::jsonb[],
        :after_descriptions::text[],
        :after_versions::bigint[]
    ) as unnested (
        key,
        before_kind,
        before_value,
        before_sealed,
        before_schema,
        before_description,
        before_version,
        after_kind,
        after_value,
        after_sealed,
        after_schema,
        after_description,
        after_version
    )
),
deleted as (
    delete from configurations
    using changed
    where configurations.environment = :environment
      and configurations.key = changed.key
      and changed.after_version is null
),
put as (
    insert into configurations (
        environment,
        key,
        kind,
        value,
        sealed,
        schema,
        description,
        version,
        updated_revision
    )
    select
        :environment,
        changed.key,
        changed.after_kind,
        changed.after_value,
        changed.after_sealed,
        changed.after_schema,
        changed.after_description,
        changed.after_version,
        :revision
    from changed
    where changed.after_version is not null
    on conflict on constraint configurations_environment_key_unique do update
    set kind = excluded.kind,
        value = excluded.value,
        sealed = excluded.sealed,
        schema = excluded.schema,
        description = excluded.description,
        version = excluded.version,
        updated_revision = excluded.updated_revision,
        updated_at = current_timestamp
)
insert into changes (
    environment,
    revision,
    key,
    before_kind,
    before_value,
    before_sealed,
    before_schema,
    before_description,
    before_version,
    after_kind,
    after_value,
    after_sealed,
    after_schema,
    after_description,
    after_version
)
select
    :environment,
    :revision,
    changed.key,
    changed.before_kind,
    changed.before_value,
    changed.before_sealed,
    changed.before_schema,
    changed.before_description,
    changed.before_version,
    changed.after_kind,
    changed.after_value,
    changed.after_sealed,
    changed.after_schema,
    changed.after_description,
    changed.after_version
from changed;

-- name: write_properties(environment, revision, version, before_metadata, before_fractional, before_protected, after_metadata, after_fractional, after_protected)!
-- As write_changes, for what the environment says of itself.
with changed as (
    update environments
    set metadata = :after_metadata,
        fractional = :after_fractional,
        protected = :after_protected,
        version = :version
    where name = :environment
)
insert into property_changes (
    environment,
    revision,
    version,
    before_metadata,
    before_fractional,
    before_protected,
    after_metadata,
    after_fractional,
    after_protected
)
values (
    :environment,
    :revision,
    :version,
    :before_metadata,
    :before_fractional,
    :before_protected,
    :after_metadata,
    :after_fractional,
    :after_protected
);

-- name: list_keys(environment, kinds)
-- For who replaces an environment by a document: what the document does not have is to go.
select key
from configurations
where environment = :environment
  and kind = any(:kinds::text[])
order by key;

-- name: list_guarded_flags(environment, keys, all_of_them)
-- Flags with guard cases: those of the keys, or all when a segment has changed that any may use. As
-- text, since the service decodes one at a time, in a thread.
select
    key,
    value::text as value
from configurations
where environment = :environment
  and kind = 'flag'
  and value ? 'guards'
  and (:all_of_them::boolean or key = any(:keys::text[]))
order by key;
