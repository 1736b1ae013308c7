-- The ledger of migrations.
-- Owner: database/migrations/.

-- name: list_applied_migrations()
select name
from migrations
where state = 'applied'
order by "timestamp";

-- name: find_last_migration()$
select name
from migrations
where state = 'applied'
order by "timestamp" desc
limit 1;

-- name: list_migrations()
-- No limit is needed: there are as many rows as files.
select
    name,
    kind,
    phase,
    state,
    checksum,
    instance,
    applied_at,
    applied_by,
    duration_ms
from migrations
order by "timestamp" desc;

-- name: find_no_migrator(lock_key)$
-- No migrator begins until this transaction ends. Returns false while one is running.
select pg_try_advisory_xact_lock_shared(:lock_key::bigint);
