-- What the follower reads to keep its snapshots current. Of a secret it reads that it is one, and no more.

-- name: list_changed_entries(environment, after_revision)
-- Every key that was touched after a revision, as it is now; without an entry when it is gone. The
-- limit has each key looked up: a plan made for few entries reads all of them once they are many.
select
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
    where changes.environment = :environment
      and changes.revision > :after_revision
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
) as entry on true;

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

-- name: has_change_set(environment, revision, hash)$
-- Whether the history still holds the change set that we stand at, under the hash that it had.
select exists (
    select 1
    from change_sets
    where environment = :environment
      and revision = :revision
      and hash is not distinct from decode(:hash, 'hex')
);

-- name: renew_epoch(environment, epoch)$
-- When what we stand at is gone, the database was restored without a word: whoever believed in the
-- revisions that are gone must start anew. Only the first instance that notices does this.
update environments
set epoch = gen_random_uuid()
where name = :environment
  and epoch = :epoch::uuid
returning epoch::text;

-- name: list_events(environment, after_revision, up_to_revision, page_size)
-- What happened after a revision, in order: each change set with its keys. Not a join: one that was
-- planned while the history was short goes through all of it once it is long.
select
    change_sets.revision,
    change_sets.kind,
    change_sets.actor,
    change_sets.message,
    change_sets.created_at,
    array(
        select changes.key
        from changes
        where changes.environment = change_sets.environment
          and changes.revision = change_sets.revision
        order by changes.key
    ) as keys,
    exists (
        select 1
        from property_changes
        where property_changes.environment = change_sets.environment
          and property_changes.revision = change_sets.revision
    ) as properties
from change_sets
where change_sets.environment = :environment
  and change_sets.revision > :after_revision
  and change_sets.revision <= :up_to_revision
order by change_sets.revision
limit :page_size;
