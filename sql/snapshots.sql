-- The changes of an environment since a snapshot.
-- Owner: configuration/snapshots/.

-- name: list_changes_since(environment, epoch, revision, hash, events_max)
-- The environment, the change sets and the entries that changed after a revision. One statement
-- reads one state in one round trip. `part` names what a row has: the environment and the change
-- sets have `content`, an entry has the other columns, and only its key if it was deleted.
-- Nothing is returned for a deleted environment or another epoch. `is_continued` is false if the
-- history lacks the change set that was read last: a backup was restored without a new epoch.
-- The limit in `entry` makes PostgreSQL look up each key. Otherwise a plan that was made for few
-- entries reads all of them.
with head as (
    select
        environments.name,
        environments.tier,
        environments.revision,
        environments.first_revision,
        environments.epoch,
        environments.hash,
        environments.protected,
        environments.fractional,
        environments.metadata,
        environments.version,
        environments.protection
    from environments
    where environments.name = :environment
      and environments.epoch = :epoch::uuid
      and environments.deleted_at is null
)
select
    'entry' as part,
    null::jsonb as content,
    touched.key,
    entry.id,
    entry.kind,
    entry.value,
    entry.sealed,
    entry.schema,
    entry.description,
    entry.version,
    entry.updated_revision,
    entry.created_at,
    entry.updated_at
from (
    select distinct changes.key
    from changes
    where changes.environment = (select head.name from head)
      and changes.revision > :revision
) as touched
left join lateral (
    select
        configurations.id::text as id,
        configurations.kind,
        configurations.value,
        configurations.sealed is not null as sealed,
        configurations.schema,
        configurations.description,
        configurations.version,
        configurations.updated_revision,
        configurations.created_at,
        configurations.updated_at
    from configurations
    where configurations.environment = :environment
      and configurations.key = touched.key
    limit 1
) as entry on true
union all
select
    'change set' as part,
    jsonb_build_object(
        'environment',
        change_sets.environment,
        'revision',
        change_sets.revision,
        'kind',
        change_sets.kind,
        'actor',
        change_sets.actor,
        'message',
        change_sets.message,
        'created_at',
        change_sets.created_at,
        'keys',
        array(
            select changes.key
            from changes
            where changes.environment = change_sets.environment
              and changes.revision = change_sets.revision
            order by changes.key
        ),
        'properties',
        exists (
            select 1
            from property_changes
            where property_changes.environment = change_sets.environment
              and property_changes.revision = change_sets.revision
        ),
        'approval',
        change_sets.approval
    ) as content,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null
from change_sets
where change_sets.environment = (select head.name from head)
  and change_sets.revision > :revision
  and (select head.revision from head) <= :revision + :events_max::bigint
union all
select
    'environment' as part,
    jsonb_build_object(
        'name',
        head.name,
        'tier',
        head.tier,
        'revision',
        head.revision,
        'first_revision',
        head.first_revision,
        'epoch',
        head.epoch,
        'hash',
        encode(head.hash, 'hex'),
        'protected',
        head.protected,
        'fractional',
        head.fractional,
        'metadata',
        head.metadata,
        'version',
        head.version,
        'protection',
        head.protection,
        'is_continued',
        :revision::bigint = 0
        or exists (
            select 1
            from change_sets
            where change_sets.environment = :environment
              and change_sets.revision = :revision
              and change_sets.hash is not distinct from decode(:hash, 'hex')
        )
    ) as content,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null
from head;

-- name: list_preload_order()
-- The environments with the number of their entries, in the order in which a new process loads
-- them: those that were evaluated last come first, and then the smallest.
select
    environments.name as environment,
    coalesce(sizes.entries, 0) as entries
from environments
left join (
    select
        configurations.environment,
        count(*) as entries
    from configurations
    group by configurations.environment
) as sizes
    on sizes.environment = environments.name
left join (
    select
        flag_usage.environment,
        max(flag_usage.last_evaluated_at) as at
    from flag_usage
    group by flag_usage.environment
) as evaluated
    on evaluated.environment = environments.name
where environments.deleted_at is null
order by
    date_trunc('hour', evaluated.at) desc nulls last,
    entries,
    environments.name;

-- name: list_swapped(environments, revisions, hashes)
-- The environments whose history lacks a change set that was read before: a backup was restored
-- without a new epoch.
select known.environment
from unnest(
    :environments::text[],
    :revisions::bigint[],
    :hashes::text[]
) as known (environment, revision, hash)
where not exists (
    select 1
    from change_sets
    where change_sets.environment = known.environment
      and change_sets.revision = known.revision
      and change_sets.hash is not distinct from decode(known.hash, 'hex')
);
