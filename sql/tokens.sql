-- Tokens: who may call.
-- Owner: access/.

-- name: list_usable_tokens()
-- All usable tokens. Every instance reads the whole list after a change of any token. Expiry is
-- checked again at each request; tokens that expired long ago are excluded to keep the list short.
select
    id,
    name,
    mac,
    relay_mac,
    scopes,
    environments,
    prefixes,
    lapsed,
    expires_at,
    retires_at
from tokens
where revoked_at is null
  and coalesce(least(expires_at, retires_at), 'infinity') > current_timestamp - interval '1 hour';

-- name: get_usable_token(id)^
-- What a token may do now, for a change of access that has waited for others. By the clock, and not
-- by the time at which the transaction began to wait.
select
    scopes,
    array(
        select named.environment
        from unnest(environments) as named (environment)
        where named.environment <> all(lapsed)
    ) as environments,
    prefixes
from tokens
where id = :id
  and revoked_at is null
  and coalesce(least(expires_at, retires_at), 'infinity') > clock_timestamp();

-- name: get_access_fingerprints()^
-- Each changes whenever list_usable_tokens, list_usable_sessions, or the statements of sql/people.sql
-- that instances read would return other rows. They are read twice a second. Triggers renew the
-- editions of people and grants, also after a change by hand: hashes of 10,000 rows would cost a
-- hundred times as much. People are many, so the first characters of their ids divide them into parts
-- that are read again when they change.
-- The clock of the database decides when a token or a session expires, so the query returns its time.
select
    coalesce(
        sum(
            hashtextextended(
                concat_ws(
                    '/', id, name, mac, relay_mac, scopes, environments, prefixes, lapsed,
                    expires_at, retires_at
                ),
                0
            )
        ),
        0
    )::text as tokens,
    (
        select
            coalesce(
                sum(
                    hashtextextended(
                        concat_ws(
                            '/', id, mac, actor, name, token_id, person_id, scopes, environments,
                            prefixes, created_at, last_seen_at, expires_at
                        ),
                        0
                    )
                ),
                0
            )::text
        from sessions
        where revoked_at is null
          and expires_at > current_timestamp - interval '1 hour'
    ) as sessions,
    (
        select coalesce(jsonb_object_agg(part, edition) filter (where part <> 'granting'), '{}')
        from access_editions
    ) as people,
    coalesce(
        (
            select edition::text
            from access_editions
            where part = 'granting'
        ),
        ''
    ) as granting,
    clock_timestamp() as database_time
from tokens
where revoked_at is null
  and coalesce(least(expires_at, retires_at), 'infinity') > current_timestamp - interval '1 hour';

-- name: list_tokens(id, after_id, held_environments, held_prefixes, page_size)
-- The token with this id, or a page of tokens without access to other environments and keys than
-- those held: each pair is an environment, or * for every one, and a prefix. Null
-- `held_environments` means all tokens.
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
    prefixes,
    created_by,
    created_at,
    least(expires_at, retires_at) as expires_at,
    revoked_at,
    replaced_by,
    last_used_at
from tokens
where (:id::text is null or id = :id)
  and id > :after_id
  and (:held_environments::text[] is null or not exists (
    select
    from unnest(environments) as named (environment)
    cross join unnest(prefixes) as own (prefix)
    where named.environment <> all(lapsed)
      and not exists (
        select
        from unnest(:held_environments::text[], :held_prefixes::text[])
            as held (environment, prefix)
        where held.environment in (named.environment, '*')
          and own.prefix ^@ held.prefix
      )
  ))
order by id
limit :page_size;

-- name: lock_token(id)^
-- The second of two replacements of one token sees the result of the first. `now` is the time of
-- the transaction, since the MAC is computed before the update.
select
    name,
    mac,
    grant_mac,
    relay_mac,
    scopes,
    environments,
    prefixes,
    lapsed,
    created_at,
    expires_at,
    revoked_at,
    replaced_by,
    current_timestamp as now
from tokens
where id = :id
for no key update;

-- name: insert_token(id, name, mac, grant_mac, relay_mac, scopes, environments, prefixes, created_by, created_at, expires_at)!
insert into tokens (
    id,
    name,
    mac,
    grant_mac,
    relay_mac,
    scopes,
    environments,
    prefixes,
    created_by,
    created_at,
    expires_at
)
values (
    :id,
    :name,
    :mac,
    :grant_mac,
    :relay_mac,
    :scopes,
    :environments,
    :prefixes,
    :created_by,
    :created_at,
    :expires_at
);

-- name: retire_token(id, mac, relay_mac, retires_at, replaced_by)!
-- The replacement has the grant now. If a person clears these columns by hand, the token still
-- cannot be replaced twice.
update tokens
set
    mac = :mac,
    grant_mac = null,
    relay_mac = :relay_mac,
    retires_at = :retires_at,
    replaced_by = :replaced_by
where id = :id;

-- name: revoke_tokens(ids)$
-- A second revocation keeps the time of the first. No token has a MAC of zeros, and a token without
-- a grant MAC cannot be replaced. So clearing revoked_at by hand does not restore the token.
update tokens
set
    revoked_at = coalesce(revoked_at, current_timestamp),
    mac = decode(repeat('00', 32), 'hex'),
    grant_mac = null,
    relay_mac = null
where id = any(:ids)
returning id;

-- name: mark_tokens_used(ids)!
-- If several instances used a token, the first one writes. Skip locked rows: another instance is
-- writing them, and waiting in another order would be a deadlock.
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

-- name: lock_tokens_of(environment)
-- Unrevoked tokens with access to the environment. `is_last`: every other environment of the token
-- is deleted.
select
    id,
    mac,
    grant_mac,
    relay_mac,
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

-- name: add_relay_macs(ids, macs, relay_macs)!
-- Tokens of earlier releases get the MAC for relays at their first use, when their text is known. A
-- MAC that has changed since is that of another state of the token.
update tokens
set relay_mac = seen.relay_mac
from unnest(:ids::text[], :macs::bytea[], :relay_macs::bytea[]) as seen (id, mac, relay_mac)
where tokens.id = seen.id
  and tokens.mac = seen.mac
  and tokens.relay_mac is null;

-- name: lapse_tokens(environment, ids, macs, grant_macs, relay_macs)!
update tokens
set lapsed = tokens.lapsed || :environment::text,
    mac = narrowed.mac,
    grant_mac = narrowed.grant_mac,
    relay_mac = narrowed.relay_mac
from unnest(:ids::text[], :macs::bytea[], :grant_macs::bytea[], :relay_macs::bytea[])
    as narrowed (id, mac, grant_mac, relay_mac)
where tokens.id = narrowed.id;

-- name: announce_tokens()$
select pg_notify('flagstone', 'tokens')::text;

-- name: list_revoked_tokens()
select id
from tokens
where revoked_at is not null;

-- name: list_actor_names(tokens, people)
-- Revoked tokens and suspended people have names too: no row of these tables is ever deleted.
select
    'token:' || id as actor,
    name
from tokens
where id = any(:tokens::text[])
union all
select
    'person:' || id as actor,
    name
from people
where id = any(:people::text[]);
