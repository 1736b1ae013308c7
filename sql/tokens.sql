-- Tokens: who may call.

-- name: list_usable_tokens()
-- All that may be let in, read whole by every instance each half second. Expiry is judged again at
-- each request; rows that are long over are left out here to keep the list short.
select
    id,
    name,
    mac,
    scopes,
    environments,
    expires_at
from tokens
where revoked_at is null
  and (expires_at is null or expires_at > current_timestamp - interval '1 hour');

-- name: list_tokens()
select
    id,
    name,
    scopes,
    environments,
    created_by,
    created_at,
    expires_at,
    revoked_at
from tokens
order by
    created_at,
    id;

-- name: insert_token(id, name, mac, scopes, environments, created_by, expires_at)!
insert into tokens (id, name, mac, scopes, environments, created_by, expires_at)
values (:id, :name, :mac, :scopes, :environments, :created_by, :expires_at);

-- name: lock_local_admin()$
-- Held until the transaction ends, by whoever looks after the admin token of a local installation.
select pg_advisory_xact_lock(1819239265)::text;

-- name: revoke_token(id)^
-- Keeps the first moment of revocation when it is said twice.
update tokens
set revoked_at = coalesce(revoked_at, current_timestamp)
where id = :id
returning
    id,
    name,
    revoked_at;
