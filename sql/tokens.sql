-- Tokens: who may call.
-- Owner: access/.

-- name: list_usable_tokens()
-- All that may be let in, read whole by every instance whenever one of them has changed. Expiry is
-- judged again at each request; rows that are long over are left out here to keep the list short.
select
    id,
    name,
    mac,
    scopes,
    environments,
    lapsed,
    expires_at,
    retires_at
from tokens
where revoked_at is null
  and coalesce(least(expires_at, retires_at), 'infinity') > current_timestamp - interval '1 hour';

-- name: get_token_fingerprint()^
-- Another fingerprint whenever list_usable_tokens would answer otherwise, whatever made the change. It
-- is read twice a second, and costs a hundredth of the rows on the wire and in Python. The database's
-- clock decides when a token expires, so its time comes along.
select
    coalesce(
        sum(
            hashtextextended(
                concat_ws('/', id, name, mac, scopes, environments, lapsed, expires_at, retires_at), 0
            )
        ),
        0
    )::text as fingerprint,
    clock_timestamp() as database_time
from tokens
where revoked_at is null
  and coalesce(least(expires_at, retires_at), 'infinity') > current_timestamp - interval '1 hour';

-- name: list_tokens(after_id, environments, page_size)
-- Only those that reach no further than these environments; null is every environment.
select
    id,
    name,
    scopes,
    array(
        select named.environment
        from unnest(environments) with ordinality as named (environment, place)
        where named.environment <> all(lapsed)
        order by named.place
    ) as environments,
    created_by,
    created_at,
    least(expires_at, retires_at) as expires_at,
    revoked_at,
    replaced_by,
    last_used_at
from tokens
where id > :after_id
  and (:environments::text[] is null or not exists (
    select
    from unnest(environments) as named (environment)
    where named.environment <> all(lapsed)
      and named.environment <> all(:environments::text[])
  ))
order by id
limit :page_size;

-- name: find_token(id)^
select
    id,
    name,
    scopes,
    array(
        select named.environment
        from unnest(environments) with ordinality as named (environment, place)
        where named.environment <> all(lapsed)
        order by named.place
    ) as environments,
    created_by,
    created_at,
    least(expires_at, retires_at) as expires_at,
    revoked_at,
    replaced_by,
    last_used_at
from tokens
where id = :id;

-- name: lock_token(id)^
-- So that of two who replace the same token the second sees what the first did. `now` is what the
-- transaction calls so: its MAC is made before the row is changed.
select
    name,
    mac,
    grant_mac,
    scopes,
    environments,
    lapsed,
    created_at,
    expires_at,
    revoked_at,
    replaced_by,
    current_timestamp as now
from tokens
where id = :id
for no key update;

-- name: insert_token(id, name, mac, grant_mac, scopes, environments, created_by, created_at, expires_at)$
with made as (
    insert into tokens (
        id,
        name,
        mac,
        grant_mac,
        scopes,
        environments,
        created_by,
        created_at,
        expires_at
    )
    values (
        :id,
        :name,
        :mac,
        :grant_mac,
        :scopes,
        :environments,
        :created_by,
        :created_at,
        :expires_at
    )
    returning id
)
select pg_notify('flagstone', 'tokens')::text
from made;

-- name: retire_token(id, mac, retires_at, replaced_by)$
-- Its grant has been passed on: whoever clears the columns by hand gets no second successor.
with retired as (
    update tokens
    set
        mac = :mac,
        grant_mac = null,
        retires_at = :retires_at,
        replaced_by = :replaced_by
    where id = :id
    returning id
)
select pg_notify('flagstone', 'tokens')::text
from retired;

-- name: revoke_token(id)^
-- Keeps the first moment of revocation when it is said twice. No token has a MAC of zeros, and none
-- is replaced without that of its grant, so who clears the column by hand brings nothing back.
with revoked as (
    update tokens
    set
        revoked_at = coalesce(revoked_at, current_timestamp),
        mac = decode(repeat('00', 32), 'hex'),
        grant_mac = null
    where id = :id
    returning id
)
select
    id,
    pg_notify('flagstone', 'tokens')::text as notified
from revoked;

-- name: mark_tokens_used(ids)!
-- Of several instances that used the same token the first one writes. A row that is locked is being
-- written just now, and waiting for each other in another order would be a deadlock.
with used as (
    select id
    from tokens
    where id = any(:ids)
      and coalesce(last_used_at, '-infinity') <= current_timestamp - interval '1 minute'
    for no key update skip locked
)
update tokens
set last_used_at = current_timestamp
from used
where tokens.id = used.id;

-- name: lock_local_admin()$
-- Held until the transaction ends, by whoever looks after the admin token of a local installation.
select pg_advisory_xact_lock(1819239265)::text;

-- name: lock_tokens_of(environment)
-- Those that name the environment and are not revoked; `is_last` when they name no other that stays.
select
    id,
    mac,
    grant_mac,
    not exists (
        select
        from unnest(environments) as named (environment)
        where named.environment <> all(lapsed)
          and named.environment <> :environment
    ) as is_last
from tokens
where environments @> array[:environment::text]
  and not lapsed @> array[:environment::text]
  and revoked_at is null
order by id
for no key update;

-- name: lapse_tokens(environment, ids, macs, grant_macs)!
update tokens
set lapsed = tokens.lapsed || :environment::text,
    mac = narrowed.mac,
    grant_mac = narrowed.grant_mac
from unnest(:ids::text[], :macs::bytea[], :grant_macs::bytea[])
    as narrowed (id, mac, grant_mac)
where tokens.id = narrowed.id;

-- name: announce_tokens()$
select pg_notify('flagstone', 'tokens')::text;

-- name: list_revoked_tokens()
select id
from tokens
where revoked_at is not null;

-- name: revoke_restored_tokens(ids)!
-- As they were revoked before the restore, which would bring them back to life.
update tokens
set
    revoked_at = current_timestamp,
    mac = decode(repeat('00', 32), 'hex'),
    grant_mac = null
where id = any(:ids)
  and revoked_at is null;
