-- The values of large lists, and the states that entries name by digest.
-- Owner: configuration/lists/ and configuration/list_data/.

-- name: find_list_salt()$
-- All lists have the salt of the first one. So the order of values is the same in each store: it
-- does not tell an owner that another one has the same list.
select list_stores.salt
from list_stores
where exists (
    select 1
    from list_states
    where list_states.store = list_stores.id
)
order by list_stores.id
limit 1;

-- name: create_list_store(salt)$
insert into list_stores (salt)
values (:salt)
returning id;

-- name: stage_list_values(store, hashes, values, expiries)
-- Adds values to a store that has no state yet. Returns those that it had already: the first expiry
-- of a value stays.
with input as (
    select
        hash,
        value,
        expiry
    from unnest(:hashes::bigint[], :values::text[], :expiries::bigint[])
        as given (hash, value, expiry)
),
added as (
    insert into list_values (store, hash, value, expires_at)
    select
        :store,
        input.hash,
        input.value,
        to_timestamp(input.expiry)
    from input
    on conflict on constraint list_values_pkey do nothing
    returning value
)
select input.value
from input
where not exists (
    select 1
    from added
    where added.value = input.value
);

-- name: lock_list_store(store)^
-- Waits for the transaction that records a state of the store, if there is one.
select id
from list_stores
where id = :store
for update;

-- name: delete_list_values(store, first, last)!
-- A state may use the store: its commit was not confirmed to the upload.
delete from list_values
where store = :store
  and hash between :first and :last
  and not exists (
    select 1
    from list_states
    where list_states.store = :store
  );

-- name: delete_list_store(store)!
delete from list_stores
where id = :store
  and not exists (
    select 1
    from list_states
    where list_states.store = :store
  );

-- name: list_abandoned_stores(hours)
-- Uploads whose process has ended.
select list_stores.id
from list_stores
where list_stores.created_at < current_timestamp - make_interval(hours => :hours)
  and not exists (
    select 1
    from list_states
    where list_states.store = list_stores.id
  )
limit 10;

-- name: lock_list_state(digest)^
-- A state that can be changed further comes first. The lock orders the writers of one store.
select
    list_states.store,
    list_states.sequence,
    list_states.count,
    list_states.sum,
    list_stores.head,
    list_stores.salt
from list_states
join list_stores on list_stores.id = list_states.store
where list_states.digest = :digest
order by
    list_states.sequence = list_stores.head desc,
    list_states.store desc,
    list_states.sequence desc
limit 1
for no key update of list_stores;

-- name: find_list_state(digest)^
select
    list_states.store,
    list_states.sequence,
    list_states.count,
    list_stores.salt
from list_states
join list_stores on list_stores.id = list_states.store
where list_states.digest = :digest
order by
    list_states.store desc,
    list_states.sequence desc
limit 1;

-- name: list_known_lists(digests)
select distinct
    digest,
    count
from list_states
where digest = any(:digests::bytea[]);

-- name: list_own_lists(digests, counts, environments, prefixes, author)
-- Those of the lists that an author may name who reads only the keys with these prefixes in these
-- environments; `*` is every one. An entry has each of its values in `changes`, also the current one.
-- The text of the value is compared, because a malformed one may equal a list: 3.0 equals 3. The
-- length of the digest is a condition of the index. Tokens that replace each other are one author.
with recursive named as (
    select
        digest,
        count
    from unnest(:digests::text[], :counts::integer[]) as given (digest, count)
),
author as (
    select :author::text collate "C" as actor
    union
    select 'token:' || case
        when author.actor = 'token:' || tokens.id then tokens.replaced_by
        else tokens.id
    end
    from author
    join tokens on author.actor in ('token:' || tokens.id, 'token:' || tokens.replaced_by)
    where tokens.replaced_by is not null
)
select
    named.digest,
    named.count
from named
join list_states
    on list_states.digest = decode(named.digest, 'hex')
    and list_states.count = named.count
where list_states.staged_by in (select author.actor from author)
union
select
    changes.after_value #>> '{list,digest}' as digest,
    (changes.after_value #>> '{list,count}')::integer as count
from changes
join environments
    on environments.name = changes.environment
    and environments.first_revision <= changes.revision
join unnest(:environments::text[], :prefixes::text[]) as held (environment, prefix)
    on held.environment in ('*', changes.environment)
    and changes.key ^@ held.prefix
where changes.after_kind = 'segment'
  and char_length(changes.after_value #>> '{list,digest}') = 64
  and changes.after_value #>> '{list,digest}' = any(:digests::text[])
  and changes.after_value::text = any(
    array(
        select jsonb_build_object(
            'list',
            jsonb_build_object('count', named.count, 'digest', named.digest)
        )::text
        from named
    )
  );

-- name: insert_list_state(store, sequence, digest, count, sum, staged_by)!
with moved as (
    update list_stores
    set head = :sequence
    where id = :store
)
insert into list_states (store, sequence, digest, count, sum, staged_by)
values (:store, :sequence, :digest, :count, :sum, :staged_by);

-- name: copy_list_values(source, sequence, target, first, last)!
insert into list_values (store, hash, value, expires_at)
select
    :target,
    hash,
    value,
    expires_at
from list_values
where store = :source
  and hash between :first and :last
  and added <= :sequence
  and (removed is null or removed > :sequence);

-- name: count_list_differences(store, sequence, staged, first, last)^
-- How many values of a state a staged store lacks, and how many it has in addition.
with present as (
    select
        hash,
        value,
        expires_at
    from list_values
    where store = :store
      and hash between :first and :last
      and added <= :sequence
      and (removed is null or removed > :sequence)
),
wanted as (
    select
        hash,
        value,
        expires_at
    from list_values
    where store = :staged
      and hash between :first and :last
)
select
    count(*) filter (where wanted.value is null) as removed,
    count(*) filter (where present.value is null) as added
from present
full join wanted
    on wanted.hash = present.hash
    and wanted.value = present.value
    and coalesce(wanted.expires_at, 'infinity') = coalesce(present.expires_at, 'infinity');

-- name: list_absent_list_values(store, staged, first, last)
-- The values of a store that a staged one does not have.
select
    present.hash,
    present.value
from list_values as present
where present.store = :store
  and present.removed is null
  and present.hash between :first and :last
  and not exists (
    select 1
    from list_values as wanted
    where wanted.store = :staged
      and wanted.hash = present.hash
      and wanted.value = present.value
  );

-- name: remove_list_values(store, sequence, hashes, values)
-- The limit makes PostgreSQL look up each value. The store is locked, so no row moves meanwhile.
update list_values
set removed = :sequence
where ctid = any(
    array(
        select present.ctid
        from unnest(:hashes::bigint[], :values::text[]) as named (hash, value)
        cross join lateral (
            select list_values.ctid
            from list_values
            where list_values.store = :store
              and list_values.hash = named.hash
              and list_values.value = named.value
              and list_values.removed is null
            limit 1
        ) as present
    )
)
returning
    value,
    extract(epoch from expires_at)::bigint as expiry;

-- name: remove_changed_list_values(store, sequence, hashes, values, expiries)
-- Removes the values that have another expiry, before they are added with the new one.
update list_values
set removed = :sequence
where ctid = any(
    array(
        select present.ctid
        from unnest(:hashes::bigint[], :values::text[], :expiries::bigint[])
            as named (hash, value, expiry)
        cross join lateral (
            select
                list_values.ctid,
                list_values.expires_at
            from list_values
            where list_values.store = :store
              and list_values.hash = named.hash
              and list_values.value = named.value
              and list_values.removed is null
            limit 1
        ) as present
        where present.expires_at is distinct from to_timestamp(named.expiry)
    )
)
returning
    value,
    extract(epoch from expires_at)::bigint as expiry;

-- name: remove_expired_list_values(store, sequence, before, page_size)
update list_values
set removed = :sequence
where ctid = any(
    array(
        select expired.ctid
        from list_values as expired
        where expired.store = :store
          and expired.added < :sequence
          and expired.removed is null
          and expired.expires_at is not null
          and expired.expires_at < :before
        order by expired.expires_at
        limit :page_size
    )
)
returning
    value,
    extract(epoch from expires_at)::bigint as expiry;

-- name: add_list_values(store, sequence, hashes, values, expiries)
-- Adds the values that the store does not have.
insert into list_values (store, hash, value, expires_at, added)
select
    :store,
    wanted.hash,
    wanted.value,
    to_timestamp(wanted.expiry),
    :sequence
from unnest(:hashes::bigint[], :values::text[], :expiries::bigint[])
    as wanted (hash, value, expiry)
left join lateral (
    select true as is_present
    from list_values
    where list_values.store = :store
      and list_values.hash = wanted.hash
      and list_values.value = wanted.value
      and list_values.removed is null
    limit 1
) as present on true
where present.is_present is null
returning
    value,
    extract(epoch from expires_at)::bigint as expiry;

-- name: find_list_values(store, sequence, hashes, values)
select
    list_values.value,
    list_values.expires_at
from unnest(:hashes::bigint[], :values::text[]) as wanted (hash, value)
join list_values
    on list_values.store = :store
    and list_values.hash = wanted.hash
    and list_values.value = wanted.value
where list_values.added <= :sequence
  and (list_values.removed is null or list_values.removed > :sequence)
order by list_values.value;

-- name: list_list_values(store, sequence, after_hash, after_value, page_size)
-- A page in the order of hashes.
select
    hash,
    value,
    expires_at,
    extract(epoch from expires_at)::bigint as expiry
from list_values
where store = :store
  and added <= :sequence
  and (removed is null or removed > :sequence)
  and (hash, value) > (:after_hash::bigint, :after_value::text)
order by
    hash,
    value
limit :page_size;

-- name: read_list_hashes(store, sequence, first, last)^
-- The hashes of a range in their order: of lasting values, and of others with their expiries.
select
    coalesce(
        string_agg(int8send(hash), ''::bytea order by hash, value) filter (where expires_at is null),
        ''::bytea
    ) as lasting,
    coalesce(
        string_agg(
            int8send(hash) || int8send(extract(epoch from expires_at)::bigint),
            ''::bytea
            order by hash, value
        ) filter (where expires_at is not null),
        ''::bytea
    ) as expiring
from list_values
where store = :store
  and hash between :first and :last
  and added <= :sequence
  and (removed is null or removed > :sequence);

-- name: read_list_texts(store, sequence)^
-- The values of a small list, one in a line, in the order of hashes: lasting ones, then others.
select
    string_agg(value, E'\n' order by hash, value) filter (where expires_at is null) as lasting,
    string_agg(value, E'\n' order by hash, value) filter (where expires_at is not null) as expiring
from list_values
where store = :store
  and added <= :sequence
  and (removed is null or removed > :sequence);

-- name: find_nearest_list(digest, loaded)^
-- A wanted state, and the loaded one of the same store that is nearest to it.
select
    wanted.store,
    wanted.sequence,
    held.digest as held_digest,
    held.sequence as held_sequence
from list_states as wanted
join list_states as held
    on held.store = wanted.store
    and held.digest = any(:loaded::bytea[])
where wanted.digest = :digest
order by abs(wanted.sequence - held.sequence)
limit 1;

-- name: list_list_delta(store, before, after, first, last, page_size)
-- The values that differ between two states: removed ones first. `first` and `last` are the lower
-- and the higher of both.
select
    touched.hash,
    touched.expiry,
    touched.is_after
from (
    select
        hash,
        extract(epoch from expires_at)::bigint as expiry,
        added <= :before and (removed is null or removed > :before) as is_before,
        added <= :after and (removed is null or removed > :after) as is_after
    from list_values
    where store = :store
      and added > 0
      and added > :first
      and added <= :last
    union all
    select
        hash,
        extract(epoch from expires_at)::bigint as expiry,
        added <= :before and (removed is null or removed > :before) as is_before,
        added <= :after and (removed is null or removed > :after) as is_after
    from list_values
    where store = :store
      and removed is not null
      and removed > :first
      and removed <= :last
      and added <= :first
) as touched
where touched.is_before <> touched.is_after
order by touched.is_after
limit :page_size;
