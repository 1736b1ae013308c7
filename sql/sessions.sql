-- Sessions of the console, and the one-time codes that begin one.
-- Owner: access/.

-- name: list_usable_sessions()
-- All sessions that may be used. Every instance reads the whole list after a change of any session.
-- Sessions that expired within the last hour are known too, so that their use is logged as such.
select
    id,
    mac,
    actor,
    name,
    token_id,
    person_id,
    scopes,
    environments,
    prefixes,
    created_at,
    last_seen_at,
    expires_at
from sessions
where revoked_at is null
  and expires_at > current_timestamp - interval '1 hour';

-- name: find_usable_session(id)$
-- For a change of access that has waited for others.
select id
from sessions
where id = :id
  and revoked_at is null
  and expires_at > clock_timestamp();

-- name: list_sessions(id, actor, idle_seconds)
-- The sessions in use, the latest first. Null `id` and `actor` select all. A suspended person cannot
-- use a session.
select
    id,
    actor,
    name,
    token_id,
    scopes,
    environments,
    prefixes,
    created_at,
    last_seen_at,
    expires_at,
    user_agent,
    network
from sessions
where revoked_at is null
  and expires_at > current_timestamp
  and last_seen_at > current_timestamp - make_interval(secs => :idle_seconds)
  and (:id::text is null or id = :id)
  and (:actor::text is null or actor = :actor)
  and not exists (
      select
      from people
      where people.id = sessions.person_id
        and people.suspended_at is not null
  )
order by last_seen_at desc, id
limit 1000;

-- name: insert_session(id, mac, actor, name, token_id, person_id, scopes, environments, prefixes, created_at, expires_at, user_agent, network)!
insert into sessions (
    id,
    mac,
    actor,
    name,
    token_id,
    person_id,
    scopes,
    environments,
    prefixes,
    created_at,
    last_seen_at,
    expires_at,
    user_agent,
    network
)
values (
    :id,
    :mac,
    :actor,
    :name,
    :token_id,
    :person_id,
    :scopes,
    :environments,
    :prefixes,
    :created_at,
    :created_at,
    :expires_at,
    :user_agent,
    :network
);

-- name: revoke_sessions(ids, actor, token_id, environment)
-- The sessions with these ids, those of an actor or a token, and those of one-time links with an
-- environment in their list. Null selects none. No session has a MAC of zeros, so clearing
-- revoked_at by hand does not restore one.
update sessions
set
    revoked_at = current_timestamp,
    mac = decode(repeat('00', 32), 'hex')
where revoked_at is null
  and (
      id = any(:ids::text[])
      or actor = :actor::text
      or token_id = :token_id::text
      or token_id is null and environments @> array[:environment::text]
  )
returning id;

-- name: revoke_oldest_sessions(actor, sessions_max)!
update sessions
set
    revoked_at = current_timestamp,
    mac = decode(repeat('00', 32), 'hex')
where id in (
    select id
    from sessions
    where actor = :actor
      and revoked_at is null
      and expires_at > current_timestamp
    order by created_at desc
    offset :sessions_max
);

-- name: revoke_all_sessions()!
update sessions
set
    revoked_at = coalesce(revoked_at, current_timestamp),
    mac = decode(repeat('00', 32), 'hex');

-- name: mark_sessions_seen(ids, seen_at)!
-- Never back: another instance may have seen the session later. Skip locked rows, as
-- mark_tokens_used does.
with seen as (
    select sessions.id, used.at
    from sessions
    join unnest(:ids::text[], :seen_at::timestamptz[]) as used (id, at) on used.id = sessions.id
    where sessions.last_seen_at <= used.at - interval '5 minutes'
    for no key update of sessions skip locked
)
update sessions
set last_seen_at = seen.at
from seen
where sessions.id = seen.id;

-- name: delete_old_sessions()!
-- At each new session. Ended ones are soon deleted: every instance reads the table twice a second.
delete from sessions
where expires_at < current_timestamp - interval '1 day'
   or revoked_at < current_timestamp - interval '1 hour';

-- name: insert_sign_in_code(id, mac, actor, name, scopes, environments, prefixes, created_at, expires_at)!
insert into sign_in_codes (
    id,
    mac,
    actor,
    name,
    scopes,
    environments,
    prefixes,
    created_at,
    expires_at
)
values (
    :id,
    :mac,
    :actor,
    :name,
    :scopes,
    :environments,
    :prefixes,
    :created_at,
    :expires_at
);

-- name: use_sign_in_code(id)^
-- A second use waits for the first, and then finds no row.
update sign_in_codes
set used_at = current_timestamp
where id = :id
  and used_at is null
  and expires_at > current_timestamp
returning
    mac,
    actor,
    name,
    scopes,
    environments,
    prefixes,
    created_at,
    expires_at;

-- name: delete_sign_in_codes(environment)!
-- Those that expired, and those with an environment in their list. Null selects none.
delete from sign_in_codes
where expires_at < current_timestamp - interval '1 day'
   or environments @> array[:environment::text];

-- name: delete_all_sign_in_codes()!
delete from sign_in_codes;
