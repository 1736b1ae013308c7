-- The history, as it is read: change sets, and any environment as it was.

-- name: find_change_set(environment, revision)^
select
    environment,
    revision,
    kind,
    actor,
    message,
    created_at,
    encode(hash, 'hex') as hash
from change_sets
where environment = :environment
  and revision = :revision;

-- name: list_change_sets(environment, before, page_size)
-- The latest first; `before` is the revision that the last page ended with. `bytes` is what its
-- changes take as they are stored, so that a page of large change sets can end early.
select
    change_sets.environment,
    change_sets.revision,
    change_sets.kind,
    change_sets.actor,
    change_sets.message,
    change_sets.created_at,
    encode(change_sets.hash, 'hex') as hash,
    sizes.bytes
from change_sets
cross join lateral (
    select
        sum(
            200
            + coalesce(pg_column_size(changes.before_value), 0)
            + coalesce(pg_column_size(changes.after_value), 0)
        ) as bytes
    from changes
    where changes.environment = change_sets.environment
      and changes.revision = change_sets.revision
) as sizes
where change_sets.environment = :environment
  and change_sets.revision < :before
order by change_sets.revision desc
limit :page_size;

-- name: list_changes(environment, revisions)
select
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
from changes
where environment = :environment
  and revision = any(:revisions::bigint[])
order by
    revision desc,
    key;

-- name: list_key_history(environment, key, before, page_size)
-- What became of one key, the latest first.
select
    changes.revision,
    changes.key,
    changes.before_kind,
    changes.before_value,
    changes.before_schema,
    changes.before_description,
    changes.before_version,
    changes.after_kind,
    changes.after_value,
    changes.after_schema,
    changes.after_description,
    changes.after_version,
    change_sets.kind as change_kind,
    change_sets.actor,
    change_sets.message,
    change_sets.created_at
from changes
join change_sets
    on change_sets.environment = changes.environment
    and change_sets.revision = changes.revision
where changes.environment = :environment
  and changes.key = :key
  and changes.revision < :before
order by changes.revision desc
limit :page_size;

-- name: list_entries_at(environment, revision, keys, prefix, kind, after, page_size)
-- Entries as of a revision: the last change of each key up to then, unless that deleted it. All keys
-- when `keys` is null.
select
    latest.key,
    latest.after_kind as kind,
    latest.after_value as value,
    latest.after_schema as schema,
    latest.after_description as description,
    latest.after_version as version,
    latest.revision as updated_revision,
    updated.created_at as updated_at,
    created.created_at
from (
    select distinct on (changes.key)
        changes.key,
        changes.revision,
        changes.after_kind,
        changes.after_value,
        changes.after_schema,
        changes.after_description,
        changes.after_version
    from changes
    where changes.environment = :environment
      and changes.revision <= :revision
      and changes.key > :after
      and starts_with(changes.key, :prefix)
      and (:keys::text[] is null or changes.key = any(:keys::text[]))
    order by
        changes.key,
        changes.revision desc
) as latest
join change_sets as updated
    on updated.environment = :environment
    and updated.revision = latest.revision
cross join lateral (
    select change_sets.created_at
    from changes
    join change_sets
        on change_sets.environment = changes.environment
        and change_sets.revision = changes.revision
    where changes.environment = :environment
      and changes.key = latest.key
      and changes.revision <= latest.revision
      and changes.before_version is null
    order by changes.revision desc
    limit 1
) as created
where latest.after_version is not null
  and (:kind::text is null or latest.after_kind = :kind)
order by latest.key
limit :page_size;
