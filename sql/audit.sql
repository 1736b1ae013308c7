-- The chain, read from its beginning: what each change set says, and what is said to be true now.

-- name: list_links(environment, after, page_size, page_bytes)
-- The next change sets in the order of the chain. A page of large ones ends early, but never before
-- its first; pg_column_size looks at no value, so a page is sized without being read.
with following as (
    select
        environment,
        revision,
        kind,
        actor,
        message,
        created_at,
        hash
    from change_sets
    where environment = :environment
      and revision > :after
    order by revision
    limit :page_size
),
sized as (
    select
        following.revision,
        following.kind,
        following.actor,
        following.message,
        following.created_at,
        following.hash,
        coalesce(
            sum(sizes.bytes) over (
                order by following.revision rows between unbounded preceding and 1 preceding
            ),
            0
        ) as bytes_before
    from following
    cross join lateral (
        select
            sum(
                coalesce(pg_column_size(changes.before_value), 0)
                + coalesce(pg_column_size(changes.after_value), 0)
            ) as bytes
        from changes
        where changes.environment = following.environment
          and changes.revision = following.revision
    ) as sizes
)
select
    revision,
    kind,
    actor,
    message,
    created_at,
    hash
from sized
where bytes_before < :page_bytes
order by revision;

-- name: list_linked_changes(environment, after, until)
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
  and revision > :after
  and revision <= :until
order by revision;

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

-- name: list_entry_origins(environment, after, page_size)
-- Each entry beside the change that it says it comes from. What is sealed is compared by its
-- commitment, since the two may have been sealed anew at different times.
select
    configurations.key,
    configurations.updated_revision,
    configurations.sealed,
    changes.after_sealed,
    (
        configurations.kind,
        configurations.value,
        configurations.schema,
        configurations.description,
        configurations.version
    ) is not distinct from (
        changes.after_kind,
        changes.after_value,
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
