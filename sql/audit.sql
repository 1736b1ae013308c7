-- The chain, read from its beginning: what each change set says, and what is said to be true now.

-- name: list_links(environment, after, page_size, page_bytes)
-- The next change sets in the order of the chain, one after the other, so that nothing is looked at
-- beyond the page. A page of large ones ends early, but never before its first.
with recursive walked as (
    select
        0::bigint as place,
        :after::bigint as revision,
        0::bigint as changes,
        0::bigint as bytes
    union all
    select
        walked.place + 1,
        following.revision,
        walked.changes + sizes.changes,
        walked.bytes + sizes.bytes
    from walked
    cross join lateral (
        select change_sets.revision
        from change_sets
        where change_sets.environment = :environment
          and change_sets.revision > walked.revision
        order by change_sets.revision
        limit 1
    ) as following
    cross join lateral (
        select
            count(*) as changes,
            coalesce(
                sum(
                    coalesce(octet_length(changes.before_value::text), 0)
                    + coalesce(octet_length(changes.before_sealed), 0)
                    + coalesce(octet_length(changes.before_schema::text), 0)
                    + coalesce(octet_length(changes.after_value::text), 0)
                    + coalesce(octet_length(changes.after_sealed), 0)
                    + coalesce(octet_length(changes.after_schema::text), 0)
                ),
                0
            )::bigint as bytes
        from changes
        where changes.environment = :environment
          and changes.revision = following.revision
    ) as sizes
    where walked.place < :page_size
      and walked.bytes < :page_bytes
)
select
    change_sets.revision,
    change_sets.kind,
    change_sets.actor,
    change_sets.message,
    change_sets.created_at,
    change_sets.hash,
    walked.changes,
    walked.bytes
from walked
join change_sets
    on change_sets.environment = :environment
    and change_sets.revision = walked.revision
where walked.place > 0
order by change_sets.revision;

-- name: list_linked_changes(environment, after, after_key, until, page_size)
-- After a key of the change set `after`, and in those that follow: what one change set touched may be
-- more than one statement carries in its time.
select
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
from changes
where environment = :environment
  and (revision, key) > (:after, :after_key)
  and revision <= :until
order by
    revision,
    key
limit :page_size;

-- name: list_linked_properties(environment, after, until)
select
    revision,
    version,
    before_metadata,
    before_fractional,
    before_protected,
    after_metadata,
    after_fractional,
    after_protected
from property_changes
where environment = :environment
  and revision > :after
  and revision <= :until;

-- name: find_link_hash(environment, revision)$
select hash
from change_sets
where environment = :environment
  and revision = :revision;

-- name: find_stray_revision(environment, revision)$
-- The first that is numbered otherwise than from 1 to that of the environment; change sets beyond it
-- are found at the end of the chain.
select min(stray.revision)
from (
    select change_sets.revision
    from change_sets
    where change_sets.environment = :environment
      and change_sets.revision < 1
    union all
    select changes.revision
    from changes
    where changes.environment = :environment
      and (changes.revision < 1 or changes.revision > :revision)
    union all
    select property_changes.revision
    from property_changes
    where property_changes.environment = :environment
      and (property_changes.revision < 1 or property_changes.revision > :revision)
) as stray;

-- name: list_entry_origins(environment, after, page_size)
-- Each entry beside the change that it says it comes from. Of what is sealed the commitments are
-- compared, since the two may have been sealed anew at different times. Times are texts, as there are
-- some that only PostgreSQL can tell.
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

-- name: list_counters()
-- Each environment without what it says of itself, which may be what nobody can read.
select
    name,
    revision
from environments
order by name;
