-- Change sets and their changes: written, read as history, verified as a chain.
-- `prefixes` are the keys that the caller may read; null is all keys. They are sorted, and none
-- begins with another one, so width_bucket finds the only one with which a key can begin.
-- Owner: configuration/changes/.

-- name: list_last_versions(environment, keys)
-- Last versions of keys without an entry. A key that is created again must not repeat an old
-- version: a client with the old one could overwrite a value that it has never seen.
select
    requested.key,
    coalesce(last_change.before_version, 0) as last_version
from unnest(:keys::text[]) as requested (key)
join lateral (
    select changes.before_version
    from changes
    where changes.environment = :environment
      and changes.key = requested.key
    order by changes.revision desc
    limit 1
) as last_change on true;

-- name: announce_revisions(environments, revisions)!
-- Notifies the other processes after the commit. A process that misses it finds the revision by
-- polling.
select pg_notify('flagstone', latest.environment || ':' || latest.revision)::text as announced
from unnest(:environments::text[], :revisions::bigint[]) as latest (environment, revision);

-- name: write_change_sets(environment, revision, hash, change_sets, changes, returns_entries)
-- Writes change sets with their changes, the current entries, and the head of the environment, which
-- lock_entries has locked. In one statement, so none exists without the others. The changes of a large
-- change set come in several statements, the later ones without change sets.
-- `change_sets` and `changes` are arrays of objects. A member that is missing is null; a key without
-- an after_version is deleted. A key has at most one change. Not jsonb_to_recordset: that turns a
-- value that is JSON's null into SQL's. A plan that was made for few entries reads all of them when
-- keys are deleted: `exists` spares that when none is, and the array makes it once for all keys.
with head as (
    update environments
    set revision = :revision,
        hash = :hash
    where environments.name = :environment
      and environments.revision < :revision
),
inserted as (
    insert into change_sets (environment, revision, kind, actor, message, hash, approval)
    select
        :environment,
        (change_set ->> 'revision')::bigint,
        change_set ->> 'kind',
        change_set ->> 'actor',
        change_set ->> 'message',
        (change_set ->> 'hash')::bytea,
        change_set -> 'approval'
    from jsonb_array_elements(:change_sets::jsonb) as element (change_set)
),
changed as (
    select
        (change ->> 'revision')::bigint as revision,
        change ->> 'key' as key,
        change ->> 'before_kind' as before_kind,
        change -> 'before_value' as before_value,
        (change ->> 'before_sealed')::bytea as before_sealed,
        change -> 'before_schema' as before_schema,
        change ->> 'before_description' as before_description,
        (change ->> 'before_version')::bigint as before_version,
        change ->> 'after_kind' as after_kind,
        change -> 'after_value' as after_value,
        (change ->> 'after_sealed')::bytea as after_sealed,
        change -> 'after_schema' as after_schema,
        change ->> 'after_description' as after_description,
        (change ->> 'after_version')::bigint as after_version
    from jsonb_array_elements(:changes::jsonb) as element (change)
),
deleted as (
    delete from configurations
    where exists (
        select 1
        from changed
        where changed.after_version is null
    )
      and configurations.environment = :environment
      and configurations.key = any(
          array(
              select changed.key
              from changed
              where changed.after_version is null
          )
      )
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
        changed.revision
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
    returning
        id,
        key,
        kind,
        value,
        sealed,
        schema,
        description,
        version,
        updated_revision,
        created_at,
        updated_at
),
recorded as (
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
        changed.revision,
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
    from changed
)
select
    put.id::text as id,
    put.key,
    put.kind,
    put.value,
    put.sealed is not null as sealed,
    put.schema,
    put.description,
    put.version,
    put.updated_revision,
    put.created_at,
    put.updated_at
from put
where :returns_entries::boolean;

-- name: write_properties(environment, revision, version, before_metadata, before_fractional, before_protected, before_protection, after_metadata, after_fractional, after_protected, after_protection)!
-- Like write_change_sets, for properties of the environment.
with changed as (
    update environments
    set metadata = :after_metadata,
        fractional = :after_fractional,
        protected = :after_protected,
        protection = :after_protection,
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
    before_protection,
    after_metadata,
    after_fractional,
    after_protected,
    after_protection
)
values (
    :environment,
    :revision,
    :version,
    :before_metadata,
    :before_fractional,
    :before_protected,
    :before_protection,
    :after_metadata,
    :after_fractional,
    :after_protected,
    :after_protection
);

-- name: find_change_set(environment, revision, prefixes)^
select
    environment,
    revision,
    kind,
    actor,
    message,
    created_at,
    encode(hash, 'hex') as hash,
    approval,
    (
        select count(*)
        from changes
        where changes.environment = change_sets.environment
          and changes.revision = change_sets.revision
          and (
            :prefixes::text[] is null
            or changes.key ^@ (:prefixes::text[])[width_bucket(changes.key, :prefixes::text[])]
          )
    ) as changes_count
from change_sets
where environment = :environment
  and revision = :revision;

-- name: find_revision_at(environment, at)$
-- The latest revision that is not after the given time. The time of a revision is the start of its
-- transaction, which may have waited for the revision before. So neighbours may be out of order,
-- but never by an hour. `offset 0` and `is true` prevent plans that read revisions from the end.
with latest as (
    select
        change_sets.revision,
        change_sets.created_at
    from change_sets
    where change_sets.environment = :environment
      and change_sets.created_at <= :at
    order by
        change_sets.created_at desc,
        change_sets.revision desc
    limit 1
)
select greatest(latest.revision, max(waited.revision))
from latest
left join lateral (
    select change_sets.revision
    from change_sets
    where change_sets.environment = :environment
      and change_sets.created_at < latest.created_at
      and change_sets.created_at >= latest.created_at - interval '1 hour'
      and (change_sets.revision > latest.revision) is true
    offset 0
) as waited on true
group by latest.revision;

-- name: list_actors(environment, first)
-- Who has written to an environment. Each step looks up the next actor in the index.
with recursive found as (
    (
        select change_sets.actor
        from change_sets
        where change_sets.environment = :environment
        order by change_sets.actor
        limit 1
    )
    union all
    select next_one.actor
    from found
    cross join lateral (
        select change_sets.actor
        from change_sets
        where change_sets.environment = :environment
          and change_sets.actor > found.actor
        order by change_sets.actor
        limit 1
    ) as next_one
)
select found.actor
from found
where exists (
    select 1
    from change_sets
    where change_sets.environment = :environment
      and change_sets.actor = found.actor
      and change_sets.revision >= :first
);

-- name: list_actors_of(environment, revisions)
select distinct change_sets.actor
from change_sets
where change_sets.environment = :environment
  and change_sets.revision = any(:revisions::bigint[]);

-- name: list_change_sets(environment, revisions, prefixes)
-- Latest first. `bytes` is the stored size of the changes, so that a page of large change sets can
-- end early.
select
    change_sets.environment,
    change_sets.revision,
    change_sets.kind,
    change_sets.actor,
    change_sets.message,
    change_sets.created_at,
    encode(change_sets.hash, 'hex') as hash,
    change_sets.approval,
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
      and (
        :prefixes::text[] is null
        or changes.key ^@ (:prefixes::text[])[width_bucket(changes.key, :prefixes::text[])]
      )
) as sizes
where change_sets.environment = :environment
  and change_sets.revision = any(:revisions::bigint[])
order by change_sets.revision desc;

-- name: list_revisions(environment, first, before, key, actors, since, until, page_size)
-- The latest change sets that match, by reading the history from its end. A null filter matches
-- all; `key` is a part of a key, in any case. The revisions are bounded by the times already, so
-- `is true` prevents a plan that reads and sorts by time.
select change_sets.revision
from change_sets
where change_sets.environment = :environment
  and change_sets.revision >= :first
  and change_sets.revision < :before
  and (:actors::text[] is null or change_sets.actor = any(:actors::text[]))
  and (:since::timestamptz is null or (change_sets.created_at >= :since::timestamptz) is true)
  and (:until::timestamptz is null or (change_sets.created_at < :until::timestamptz) is true)
  and (
    :key::text is null
    or exists (
        select 1
        from changes
        where changes.environment = change_sets.environment
          and changes.revision = change_sets.revision
          and strpos(lower(changes.key), lower(:key::text)) > 0
    )
  )
order by change_sets.revision desc
limit :page_size;

-- name: list_revisions_of_actors(environment, first, before, actors, since, until, page_size)
-- The same for actors. Each may have few change sets in a long history.
select found.revision
from unnest(:actors::text[]) as wanted (actor)
cross join lateral (
    select change_sets.revision
    from change_sets
    where change_sets.environment = :environment
      and change_sets.actor = wanted.actor
      and change_sets.revision >= :first
      and change_sets.revision < :before
      and (:since::timestamptz is null or (change_sets.created_at >= :since::timestamptz) is true)
      and (:until::timestamptz is null or (change_sets.created_at < :until::timestamptz) is true)
    order by change_sets.revision desc
    limit :page_size
) as found
order by found.revision desc
limit :page_size;

-- name: list_revisions_below(environment, first, before, prefixes, key, actors, since, until, page_size)
-- The same for many keys below some prefixes, by reading the index of changes from its end. The
-- limit of the subquery makes PostgreSQL look up each change set.
select distinct changes.revision
from changes
where changes.environment = :environment
  and changes.revision >= :first
  and changes.revision < :before
  and changes.key ^@ (:prefixes::text[])[width_bucket(changes.key, :prefixes::text[])]
  and (:key::text is null or strpos(lower(changes.key), lower(:key::text)) > 0)
  and (
    num_nonnulls(:actors::text[], :since::timestamptz, :until::timestamptz) = 0
    or (
        select true
        from change_sets
        where change_sets.environment = :environment
          and change_sets.revision = changes.revision
          and (:actors::text[] is null or change_sets.actor = any(:actors::text[]))
          and (:since::timestamptz is null or change_sets.created_at >= :since::timestamptz)
          and (:until::timestamptz is null or change_sets.created_at < :until::timestamptz)
        limit 1
    )
  )
order by changes.revision desc
limit :page_size;

-- name: list_property_revisions(environment, first, before, actors, since, until, page_size)
-- The same for changes of the environment's properties, which every reader sees.
select property_changes.revision
from property_changes
join change_sets
    on change_sets.environment = property_changes.environment
    and change_sets.revision = property_changes.revision
where property_changes.environment = :environment
  and property_changes.revision >= :first
  and property_changes.revision < :before
  and (:actors::text[] is null or change_sets.actor = any(:actors::text[]))
  and (:since::timestamptz is null or change_sets.created_at >= :since::timestamptz)
  and (:until::timestamptz is null or change_sets.created_at < :until::timestamptz)
order by property_changes.revision desc
limit :page_size;

-- name: list_keys_like(environment, part, first, page_size)
-- The keys that have ever existed and contain a text, in any case. Each key was created once, so
-- the index of creations and deletions has all of them.
select distinct changes.key
from changes
where changes.environment = :environment
  and changes.revision >= :first
  and (changes.before_version is null or changes.after_version is null)
  and strpos(lower(changes.key), lower(:part)) > 0
limit :page_size;

-- name: list_keys_below(environment, part, prefixes, first, page_size)
-- The same below some prefixes, by a range of the index for each. No key contains a tilde, and all
-- its characters sort before it.
select lifetime.key
from unnest(:prefixes::text[]) as held (prefix)
cross join lateral (
    select distinct changes.key
    from changes
    where changes.environment = :environment
      and changes.key >= held.prefix
      and changes.key < held.prefix || '~'
      and changes.revision >= :first
      and (changes.before_version is null or changes.after_version is null)
      and (:part::text is null or strpos(lower(changes.key), lower(:part::text)) > 0)
    order by changes.key
    limit :page_size
) as lifetime
limit :page_size;

-- name: list_revisions_of_keys(environment, first, before, keys, actors, since, until, page_size)
-- The same for some keys. The first step reads one change of each key. If these have enough
-- revisions for the page, nothing before them is on it, so only few keys need a second step.
-- `offset 0` and the limits prevent plans that read the history from its end.
with latest as (
    select
        wanted.key,
        last_change.revision,
        dense_rank() over (order by last_change.revision desc) as place
    from unnest(:keys::text[]) as wanted (key)
    cross join lateral (
        select changes.revision
        from changes
        where changes.environment = :environment
          and changes.key = wanted.key
          and changes.revision >= :first
          and changes.revision < :before
          and (
            num_nonnulls(:actors::text[], :since::timestamptz, :until::timestamptz) = 0
            or (
              select true
              from change_sets
              where change_sets.environment = :environment
                and change_sets.revision = changes.revision
                and (:actors::text[] is null or change_sets.actor = any(:actors::text[]))
                and (:since::timestamptz is null or change_sets.created_at >= :since::timestamptz)
                and (:until::timestamptz is null or change_sets.created_at < :until::timestamptz)
              limit 1
            )
          )
        order by changes.revision desc
        limit 1
        offset 0
    ) as last_change
),
bound as (
    select coalesce(max(latest.revision) filter (where latest.place = :page_size), :first) as first
    from latest
)
select distinct found.revision
from bound
cross join latest
cross join lateral (
    select changes.revision
    from changes
    where changes.environment = :environment
      and changes.key = latest.key
      and changes.revision >= bound.first
      and changes.revision < :before
      and (
        num_nonnulls(:actors::text[], :since::timestamptz, :until::timestamptz) = 0
        or (
          select true
          from change_sets
          where change_sets.environment = :environment
            and change_sets.revision = changes.revision
            and (:actors::text[] is null or change_sets.actor = any(:actors::text[]))
            and (:since::timestamptz is null or change_sets.created_at >= :since::timestamptz)
            and (:until::timestamptz is null or change_sets.created_at < :until::timestamptz)
          limit 1
        )
      )
    order by changes.revision desc
    limit :page_size
    offset 0
) as found
where latest.place <= :page_size
order by found.revision desc
limit :page_size;

-- name: list_changes(environment, revisions, prefixes, after_key, page_size, page_bytes)
-- The first changes of each revision. The page ends with the change that reaches `page_bytes`, so
-- it has at least one.
with sized as (
    select
        requested.revision,
        first.key,
        first.has_more,
        coalesce(
            sum(first.bytes) over (
                order by
                    requested.revision desc,
                    first.key
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as bytes_before
    from unnest(:revisions::bigint[]) as requested (revision)
    cross join lateral (
        select
            changes.key,
            200
            + coalesce(octet_length(changes.before_value::text), 0)
            + coalesce(octet_length(changes.after_value::text), 0) as bytes,
            lead(changes.key) over (order by changes.key) is not null as has_more
        from changes
        where changes.environment = :environment
          and changes.revision = requested.revision
          and changes.key > :after_key
          and (
            :prefixes::text[] is null
            or changes.key ^@ (:prefixes::text[])[width_bucket(changes.key, :prefixes::text[])]
          )
        order by changes.key
        limit :page_size
    ) as first
)
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
    sized.has_more,
    sized.bytes_before
from sized
join changes
    on changes.environment = :environment
    and changes.revision = sized.revision
    and changes.key = sized.key
where sized.bytes_before < :page_bytes
order by
    changes.revision desc,
    changes.key;

-- name: list_keys_changed_by(environment, actor, first)
-- Keys that one actor has changed.
select distinct changes.key
from change_sets
join changes
    on changes.environment = change_sets.environment
    and changes.revision = change_sets.revision
where change_sets.environment = :environment
  and change_sets.revision >= :first
  and change_sets.actor = :actor
order by changes.key;

-- name: list_changed_keys(environment, after_revision, up_to_revision, prefixes, after_key, page_size)
-- Keys that changed between two revisions. Reads each change between them.
select distinct changes.key
from changes
where changes.environment = :environment
  and changes.revision > :after_revision
  and changes.revision <= :up_to_revision
  and changes.key > :after_key
  and (
    :prefixes::text[] is null
    or changes.key ^@ (:prefixes::text[])[width_bucket(changes.key, :prefixes::text[])]
  )
order by changes.key
limit :page_size;

-- name: probe_changed_keys(environment, after_revision, up_to_revision, prefixes, after_key, page_size)
-- As list_changed_keys, for revisions that are far apart, and without keys that exist at neither of
-- them. Creations and deletions alternate, so a key with more creations exists. A key that exists
-- at both may have other changes: the limit makes PostgreSQL look up each key. The recursion is
-- that of list_keys_at; here, all keys are the prefix "".
with recursive walked as (
    select
        0 as place,
        '{}'::text[] collate "C" as keys,
        0 as keys_count
    union all
    select
        walked.place + 1,
        following.keys,
        walked.keys_count + cardinality(following.keys)
    from walked
    cross join lateral (
        select (:prefixes::text[])[walked.place + 1] as prefix
    ) as held
    cross join lateral (
        select array(
            select lifetimes.key
            from (
                select
                    changes.key,
                    count(changes.after_version) * 2 > count(*) as exists_after,
                    count(changes.after_version) filter (
                        where changes.revision <= :after_revision
                    ) * 2 > count(*) filter (
                        where changes.revision <= :after_revision
                    ) as exists_before,
                    max(changes.revision) > :after_revision as was_created
                from changes
                where changes.environment = :environment
                  and changes.revision <= :up_to_revision
                  and changes.key > :after_key
                  and changes.key >= held.prefix
                  and changes.key < held.prefix || '~'
                  and (changes.before_version is null or changes.after_version is null)
                group by changes.key
            ) as lifetimes
            where lifetimes.exists_before <> lifetimes.exists_after
               or (
                lifetimes.exists_after
                and (
                    lifetimes.was_created
                    or (
                        select true
                        from changes
                        where changes.environment = :environment
                          and changes.key = lifetimes.key
                          and changes.revision > :after_revision
                          and changes.revision <= :up_to_revision
                        limit 1
                    )
                )
              )
            order by lifetimes.key
            limit :page_size
        ) as keys
        offset 0
    ) as following
    where walked.place < cardinality(:prefixes::text[])
      and walked.keys_count < :page_size
)
select listed.key
from walked
cross join unnest(walked.keys) as listed (key)
order by listed.key
limit :page_size;

-- name: list_before(environment, revision, after_key, page_size)
-- The state of each key before a change set, including sealed values, in pages by key.
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
-- The changes of one key, latest first. The page ends with the change that reaches `page_bytes`, so
-- it has at least one.
with sized as (
    select
        changes.revision,
        lead(changes.revision) over latest_first is not null as has_more,
        coalesce(
            sum(
                coalesce(octet_length(changes.before_value::text), 0)
                + coalesce(octet_length(changes.after_value::text), 0)
            ) over (latest_first rows between unbounded preceding and 1 preceding),
            0
        ) as bytes_before
    from changes
    where changes.environment = :environment
      and changes.key = :key
      and changes.revision >= :first
      and changes.revision < :before
    window latest_first as (order by changes.revision desc)
    order by changes.revision desc
    limit :page_size
)
select
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
    sized.has_more,
    change_sets.kind as change_kind,
    change_sets.actor,
    change_sets.message,
    change_sets.created_at,
    change_sets.approval
from sized
join changes
    on changes.environment = :environment
    and changes.revision = sized.revision
    and changes.key = :key
join change_sets
    on change_sets.environment = :environment
    and change_sets.revision = sized.revision
where sized.bytes_before < :page_bytes
order by changes.revision desc;

-- name: list_keys_at(environment, revision, prefixes, kind, after_key, page_size)
-- Keys with an entry as of a revision: their last creation or deletion up to it is a creation. An
-- index has these changes alone, so the cost does not grow with the other changes. The recursion
-- reads a range of the index for each prefix, and ends when the page is full. No key contains a
-- tilde, and all its characters sort before it. Without `offset 0`, it would read each range twice.
with recursive walked as (
    select
        0 as place,
        '{}'::text[] collate "C" as keys,
        0 as keys_count
    union all
    select
        walked.place + 1,
        following.keys,
        walked.keys_count + cardinality(following.keys)
    from walked
    cross join lateral (
        select (:prefixes::text[])[walked.place + 1] as prefix
    ) as held
    cross join lateral (
        select array(
            select lifetime.key
            from (
                select distinct on (changes.key)
                    changes.key,
                    changes.after_version is not null as has_entry
                from changes
                where changes.environment = :environment
                  and changes.revision <= :revision
                  and changes.key > :after_key
                  and changes.key >= held.prefix
                  and changes.key < held.prefix || '~'
                  and (changes.before_version is null or changes.after_version is null)
                order by
                    changes.key,
                    changes.revision desc
            ) as lifetime
            where lifetime.has_entry
              and (
                :kind::text is null
                or :kind = (
                    select changes.after_kind
                    from changes
                    where changes.environment = :environment
                      and changes.key = lifetime.key
                      and changes.revision <= :revision
                    order by changes.revision desc
                    limit 1
                )
              )
            order by lifetime.key
            limit :page_size
        ) as keys
        offset 0
    ) as following
    where walked.place < cardinality(:prefixes::text[])
      and walked.keys_count < :page_size
)
select listed.key
from walked
cross join unnest(walked.keys) as listed (key)
order by listed.key
limit :page_size;

-- name: list_contents_at(environment, revision, keys)
-- Entries of these keys as of a revision: the last change of each up to it, unless that deleted
-- the key. In order of the keys.
select
    latest.key,
    latest.kind,
    latest.value,
    latest.sealed,
    latest.schema,
    latest.description,
    latest.version
from unnest(:keys::text[]) as requested (key)
cross join lateral (
    select
        changes.key,
        changes.after_kind as kind,
        changes.after_value as value,
        changes.after_sealed as sealed,
        changes.after_schema as schema,
        changes.after_description as description,
        changes.after_version as version
    from changes
    where changes.environment = :environment
      and changes.key = requested.key
      and changes.revision <= :revision
    order by changes.revision desc
    limit 1
) as latest
where latest.version is not null
order by latest.key;

-- name: list_entries_at(environment, revision, keys, page_bytes)
-- As list_contents_at, with ids and times. The page ends with the entry that reaches `page_bytes`,
-- so it has at least one.
with latest as (
    select
        last_change.key,
        last_change.revision,
        last_change.kind,
        last_change.value,
        last_change.sealed,
        last_change.schema,
        last_change.description,
        last_change.version,
        coalesce(
            sum(
                coalesce(
                    octet_length(last_change.value::text),
                    octet_length(last_change.sealed)
                )
            ) over (
                order by last_change.key
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as bytes_before
    from unnest(:keys::text[]) as requested (key)
    cross join lateral (
        select
            changes.key,
            changes.revision,
            changes.after_kind as kind,
            changes.after_value as value,
            changes.after_sealed as sealed,
            changes.after_schema as schema,
            changes.after_description as description,
            changes.after_version as version
        from changes
        where changes.environment = :environment
          and changes.key = requested.key
          and changes.revision <= :revision
        order by changes.revision desc
        limit 1
    ) as last_change
    where last_change.version is not null
)
select
    entry.id::text as id,
    latest.key,
    latest.kind,
    latest.value,
    latest.sealed,
    latest.schema,
    latest.description,
    latest.version,
    latest.revision as updated_revision,
    updated.created_at as updated_at,
    created.created_at
from latest
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
-- The current entry, if it is still the same one.
left join configurations as entry
    on entry.environment = :environment
    and entry.key = latest.key
    and entry.created_at = created.created_at
where latest.bytes_before < :page_bytes
order by latest.key;

-- name: list_property_changes(environment, after, until)
select
    revision,
    version,
    before_metadata,
    before_fractional,
    before_protected,
    before_protection,
    after_metadata,
    after_fractional,
    after_protected,
    after_protection
from property_changes
where environment = :environment
  and revision > :after
  and revision <= :until;

-- name: find_properties_at(environment, revision)^
-- The properties after the last change up to a revision, or before the first change after it. No
-- row if the properties never changed.
select
    change.metadata,
    change.fractional,
    change.protected,
    change.version,
    change.protection
from (
    (
        select
            true as is_past,
            after_metadata as metadata,
            after_fractional as fractional,
            after_protected as protected,
            version,
            after_protection as protection
        from property_changes
        where environment = :environment
          and revision <= :revision
        order by revision desc
        limit 1
    )
    union all
    (
        select
            false,
            before_metadata,
            before_fractional,
            before_protected,
            version - 1,
            before_protection
        from property_changes
        where environment = :environment
          and revision > :revision
        order by revision
        limit 1
    )
) as change
order by change.is_past desc
limit 1;

-- name: list_events(environment, after_revision, up_to_revision, page_size)
-- The change sets after a revision, in order, each with its keys. Not a join: a plan that was made
-- for a short history would read all of a long one.
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
    ) as properties,
    change_sets.approval
from change_sets
where change_sets.environment = :environment
  and change_sets.revision > :after_revision
  and change_sets.revision <= :up_to_revision
order by change_sets.revision
limit :page_size;

-- name: list_links(environment, after, page_size, page_bytes)
-- The next change sets of the chain. The recursion reads one after the other, so it reads nothing
-- after the page. A page of large change sets ends early, but has at least one.
with recursive walked as (
    select
        0::bigint as position,
        :after::bigint as revision,
        0::bigint as changes,
        0::bigint as bytes
    union all
    select
        walked.position + 1,
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
    where walked.position < :page_size
      and walked.bytes < :page_bytes
)
select
    change_sets.revision,
    change_sets.kind,
    change_sets.actor,
    change_sets.message,
    change_sets.created_at,
    change_sets.hash,
    change_sets.approval,
    walked.changes,
    walked.bytes
from walked
join change_sets
    on change_sets.environment = :environment
    and change_sets.revision = walked.revision
where walked.position > 0
order by change_sets.revision;

-- name: list_linked_changes(environment, after, after_key, until, page_size)
-- Changes after a key of the change set `after`, and of those that follow: the changes of one
-- change set may exceed a page.
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

-- name: find_link_hash(environment, revision)$
select hash
from change_sets
where environment = :environment
  and revision = :revision;

-- name: find_stray_revision(environment, revision)$
-- The first revision outside of 1 to the revision of the environment. Change sets beyond it are
-- found at the end of the chain.
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

-- name: lock_sealed_befores(environment, ids, batch_size)
select
    revision,
    key,
    before_version as version,
    before_sealed as sealed
from changes
where environment = :environment
  and before_sealed is not null
  and substr(before_sealed, 3, 8) = any(:ids::bytea[])
limit :batch_size
for no key update skip locked;

-- name: lock_sealed_afters(environment, ids, batch_size)
select
    revision,
    key,
    after_version as version,
    after_sealed as sealed
from changes
where environment = :environment
  and after_sealed is not null
  and substr(after_sealed, 3, 8) = any(:ids::bytea[])
limit :batch_size
for no key update skip locked;

-- name: reseal_befores(environment, revisions, keys, sealed)!
update changes
set before_sealed = resealed.sealed
from unnest(:revisions::bigint[], :keys::text[], :sealed::bytea[]) as resealed (revision, key, sealed)
where changes.environment = :environment
  and changes.revision = resealed.revision
  and changes.key = resealed.key;

-- name: reseal_afters(environment, revisions, keys, sealed)!
update changes
set after_sealed = resealed.sealed
from unnest(:revisions::bigint[], :keys::text[], :sealed::bytea[]) as resealed (revision, key, sealed)
where changes.environment = :environment
  and changes.revision = resealed.revision
  and changes.key = resealed.key;
