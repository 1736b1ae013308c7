-- Change sets: the only way by which configurations come, change and go.

-- name: list_entries(environment, keys)
-- What a change set is about to touch. Read after advance_revision, whose lock keeps it true.
-- last_version outlives the entry: a key that is made again must not repeat an old version, or a
-- client that still holds the old one would overwrite what it has never seen.
select
    wanted.key,
    configurations.kind,
    configurations.value,
    configurations.sealed,
    configurations.schema,
    configurations.description,
    configurations.version,
    configurations.created_at,
    coalesce(configurations.version, last_change.before_version, 0) as last_version
from unnest(:keys::text[]) as wanted (key)
left join configurations
    on configurations.environment = :environment
    and configurations.key = wanted.key
left join lateral (
    select changes.before_version
    from changes
    where configurations.key is null
      and changes.environment = :environment
      and changes.key = wanted.key
    order by changes.revision desc
    limit 1
) as last_change on true;

-- name: insert_change_set(environment, revision, kind, actor, message, hash)!
-- With the hash for the next one to follow on; the row is locked since advance_revision.
with chained as (
    update environments
    set hash = :hash
    where environments.name = :environment
)

insert into change_sets (environment, revision, kind, actor, message, hash)
values (:environment, :revision, :kind, :actor, :message, :hash);

-- name: upsert_configurations(environment, revision, keys, kinds, values, schemas, descriptions, versions)!
insert into configurations (
    environment,
    key,
    kind,
    value,
    schema,
    description,
    version,
    updated_revision
)
select
    :environment,
    written.key,
    written.kind,
    written.value,
    written.schema,
    written.description,
    written.version,
    :revision
from unnest(
    :keys::text[],
    :kinds::text[],
    :values::jsonb[],
    :schemas::jsonb[],
    :descriptions::text[],
    :versions::bigint[]
) as written (key, kind, value, schema, description, version)
on conflict on constraint configurations_environment_key_unique do update
set kind = excluded.kind,
    value = excluded.value,
    schema = excluded.schema,
    description = excluded.description,
    version = excluded.version,
    updated_revision = excluded.updated_revision,
    updated_at = current_timestamp;

-- name: delete_configurations(environment, keys)!
delete from configurations
where environment = :environment
  and key = any(:keys::text[]);

-- name: insert_changes(environment, revision, keys, before_kinds, before_values, before_schemas, before_descriptions, before_versions, after_kinds, after_values, after_schemas, after_descriptions, after_versions)!
insert into changes (
    environment,
    revision,
    key,
    before_kind,
    before_value,
    before_schema,
    before_description,
    before_version,
    after_kind,
    after_value,
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
    changed.before_schema,
    changed.before_description,
    changed.before_version,
    changed.after_kind,
    changed.after_value,
    changed.after_schema,
    changed.after_description,
    changed.after_version
from unnest(
    :keys::text[],
    :before_kinds::text[],
    :before_values::jsonb[],
    :before_schemas::jsonb[],
    :before_descriptions::text[],
    :before_versions::bigint[],
    :after_kinds::text[],
    :after_values::jsonb[],
    :after_schemas::jsonb[],
    :after_descriptions::text[],
    :after_versions::bigint[]
) as changed (
    key,
    before_kind,
    before_value,
    before_schema,
    before_description,
    before_version,
    after_kind,
    after_value,
    after_schema,
    after_description,
    after_version
);

-- name: notify_revision(environment, revision)$
-- Delivered at commit; whoever misses it finds the revision by polling.
select pg_notify('flagstone', :environment::text || ':' || :revision::bigint)::text;

-- name: list_keys(environment, kinds)
-- For who replaces an environment by a document: what the document does not have is to go.
select key
from configurations
where environment = :environment
  and kind = any(:kinds::text[])
order by key;
