-- The history, as it is read: change sets, and any environment as it was.

-- name: find_change_set(environment, revision)^
select
    environment,
    revision,
    kind,
    actor,
    message,
    created_at,
    encode(hash, 'hex') as hash,
    (
        select count(*)
        from changes
        where changes.environment = change_sets.environment
          and changes.revision = change_sets.revision
    ) as changes_count
from change_sets
where environment = :environment
  and revision = :revision;

-- name: find_revision_at(environment, first, at)$
-- The latest revision whose time is not after the given one. The time of a revision is when its
-- transaction began, which may have waited for the revision before: so neighbours may be out of order,
-- though never by an hour. The bound lets the index on the times find the revision.
select max(revision)
from change_sets
where environment = :environment
  and revision >= :first
  and created_at <= :at
  and created_at >= (
    select max(created_at) - interval '1 hour'
    from change_sets
    where environment = :environment
      and created_at <= :at
  );

-- name: list_change_sets(environment, first, before, page_size)
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
    sizes.changes_count,
    sizes.bytes
from change_sets
cross join lateral (
    select
        count(*) as changes_count,
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
  and change_sets.revision >= :first
  and change_sets.revision < :before
order by change_sets.revision desc
limit :page_size;

-- name: list_changes(environment, revisions, after_key, page_size, page_bytes)
-- The first changes of each revision, of all together no more bytes than a page may have, but never
-- none. The rows that are left out are the last ones.
select
    page.revision,
    page.key,
    page.before_kind,
    page.before_value,
    page.before_schema,
    page.before_description,
    page.before_version,
    page.after_kind,
    page.after_value,
    page.after_schema,
    page.after_description,
    page.after_version,
    page.has_more,
    page.bytes_before
from (
    select
        first.revision,
        first.key,
        first.before_kind,
        first.before_value,
        first.before_schema,
        first.before_description,
        first.before_version,
        first.after_kind,
        first.after_value,
        first.after_schema,
        first.after_description,
        first.after_version,
        first.has_more,
        coalesce(
            sum(
                200
                + coalesce(octet_length(first.before_value::text), 0)
                + coalesce(octet_length(first.after_value::text), 0)
            ) over (
                order by
                    first.revision desc,
                    first.key
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as bytes_before
    from unnest(:revisions::bigint[]) as wanted (revision)
    cross join lateral (
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
            lead(changes.key) over (order by changes.key) is not null as has_more
        from changes
        where changes.environment = :environment
          and changes.revision = wanted.revision
          and changes.key > :after_key
        order by changes.key
        limit :page_size
    ) as first
) as page
where page.bytes_before < :page_bytes
order by
    page.revision desc,
    page.key;

-- name: list_changed_keys(environment, after_revision, up_to_revision)
-- What can differ between two moments of an environment: all else has not been touched.
select distinct key
from changes
where environment = :environment
  and revision > :after_revision
  and revision <= :up_to_revision
order by key;

-- name: list_before(environment, revision, after_key, page_size)
-- What each key of a change set was before it, sealed values included, a page by key.
select
    key,
    before_kind as kind,
    before_value as value,
    before_sealed as sealed,
    before_schema as schema,
    before_description as description,
    before_version as version,
    after_version
from changes
where environment = :environment
  and revision = :revision
  and key > :after_key
order by key
limit :page_size;

-- name: list_key_history(environment, key, first, before, page_size, page_bytes)
-- What became of one key, the latest first. A page of large values ends early, but never before its
-- first change.
select
    page.revision,
    page.before_kind,
    page.before_value,
    page.before_schema,
    page.before_description,
    page.before_version,
    page.after_kind,
    page.after_value,
    page.after_schema,
    page.after_description,
    page.after_version,
    page.has_more,
    change_sets.kind as change_kind,
    change_sets.actor,
    change_sets.message,
    change_sets.created_at
from (
    select
        changes.environment,
        changes.revision,
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
        lead(changes.revision) over in_order is not null as has_more,
        -- Of the changes before this one on the page.
        coalesce(
            sum(
                coalesce(octet_length(changes.before_value::text), 0)
                + coalesce(octet_length(changes.after_value::text), 0)
            ) over (in_order rows between unbounded preceding and 1 preceding),
            0
        ) as bytes_before
    from changes
    where changes.environment = :environment
      and changes.key = :key
      and changes.revision >= :first
      and changes.revision < :before
    window in_order as (order by changes.revision desc)
    order by changes.revision desc
    limit :page_size
) as page
join change_sets
    on change_sets.environment = page.environment
    and change_sets.revision = page.revision
where page.bytes_before < :page_bytes
order by page.revision desc;

-- name: list_contents_at(environment, revision, keys, after_key, page_size)
-- What entries held as of a revision, a page by key: the last change of each key up to then, unless that
-- deleted it. All keys when `keys` is null.
select
    latest.key,
    latest.after_kind as kind,
    latest.after_value as value,
    latest.after_sealed as sealed,
    latest.after_schema as schema,
    latest.after_description as description,
    latest.after_version as version
from (
    select distinct on (changes.key)
        changes.key,
        changes.after_kind,
        changes.after_value,
        changes.after_sealed,
        changes.after_schema,
        changes.after_description,
        changes.after_version
    from changes
    where changes.environment = :environment
      and changes.revision <= :revision
      and changes.key > :after_key
      and (:keys::text[] is null or changes.key = any(:keys::text[]))
    order by
        changes.key,
        changes.revision desc
) as latest
where latest.after_version is not null
order by latest.key
limit :page_size;

-- name: list_entries_at(environment, revision, keys, prefix, kind, after, page_size, page_bytes)
-- Entries as of a revision: the last change of each key up to then, unless that deleted it. All keys
-- when `keys` is null, and all in one page when its limits are; else a page of large values ends
-- early, but never before its first entry.
with latest as (
    select distinct on (changes.key)
        changes.key,
        changes.revision,
        changes.after_kind,
        changes.after_value,
        changes.after_sealed,
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
),
page as (
    select
        latest.key,
        latest.revision,
        latest.after_kind,
        latest.after_value,
        latest.after_sealed,
        latest.after_schema,
        latest.after_description,
        latest.after_version,
        lead(latest.key) over in_order is not null as has_more,
        coalesce(
            sum(
                case
                    when :page_bytes::bigint is null then 0
                    else coalesce(
                        octet_length(latest.after_value::text),
                        octet_length(latest.after_sealed)
                    )
                end
            ) over (in_order rows between unbounded preceding and 1 preceding),
            0
        ) as bytes_before
    from latest
    where latest.after_version is not null
      and (:kind::text is null or latest.after_kind = :kind)
    window in_order as (order by latest.key)
    order by latest.key
    limit :page_size
)
select
    entry.id::text as id,
    page.key,
    page.after_kind as kind,
    page.after_value as value,
    page.after_sealed as sealed,
    page.after_schema as schema,
    page.after_description as description,
    page.after_version as version,
    page.revision as updated_revision,
    page.has_more,
    updated.created_at as updated_at,
    created.created_at
from page
join change_sets as updated
    on updated.environment = :environment
    and updated.revision = page.revision
cross join lateral (
    select change_sets.created_at
    from changes
    join change_sets
        on change_sets.environment = changes.environment
        and change_sets.revision = changes.revision
    where changes.environment = :environment
      and changes.key = page.key
      and changes.revision <= page.revision
      and changes.before_version is null
    order by changes.revision desc
    limit 1
) as created
-- The entry of that time, where it is still the same one.
left join configurations as entry
    on entry.environment = :environment
    and entry.key = page.key
    and entry.created_at = created.created_at
where :page_bytes::bigint is null
   or page.bytes_before < :page_bytes
order by page.key;

-- name: list_property_changes(environment, revisions)
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
  and revision = any(:revisions::bigint[]);

-- name: find_properties_at(environment, revision)^
-- What the last change up to a revision has left, or what the first one after it has found; no row when
-- nothing was ever changed, since then all is still as it was.
select
    after_metadata as metadata,
    after_fractional as fractional,
    after_protected as protected,
    version
from (
    select
        revision,
        after_metadata,
        after_fractional,
        after_protected,
        version
    from property_changes
    where environment = :environment
      and revision <= :revision
    order by revision desc
    limit 1
) as last_before
union all
select
    before_metadata,
    before_fractional,
    before_protected,
    version - 1
from (
    select
        revision,
        before_metadata,
        before_fractional,
        before_protected,
        version
    from property_changes
    where environment = :environment
      and revision > :revision
    order by revision
    limit 1
) as first_after
where not exists (
    select 1
    from property_changes
    where environment = :environment
      and revision <= :revision
);
