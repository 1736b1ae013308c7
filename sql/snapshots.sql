-- What the follower reads to keep its snapshots current.

-- name: list_changed_entries(environment, after_revision)
-- Every key that was touched after a revision, as it is now; without an entry when it is gone.
select
    touched.key,
    configurations.kind,
    configurations.value,
    configurations.schema,
    configurations.description,
    configurations.version,
    configurations.updated_revision,
    configurations.created_at,
    configurations.updated_at
from (
    select distinct changes.key
    from changes
    where changes.environment = :environment
      and changes.revision > :after_revision
) as touched
left join configurations
    on configurations.environment = :environment
    and configurations.key = touched.key;

-- name: list_all_entries(environment)
select
    key,
    kind,
    value,
    schema,
    description,
    version,
    updated_revision,
    created_at,
    updated_at
from configurations
where environment = :environment
order by key;

-- name: renew_epoch(environment, epoch, seen_revision)$
-- When the revision has gone back, the database was restored without a word: whoever believed in the
-- revisions that are gone must start anew. Only the first instance that notices does this.
update environments
set epoch = gen_random_uuid()
where name = :environment
  and epoch = :epoch::uuid
  and revision < :seen_revision
returning epoch::text;
