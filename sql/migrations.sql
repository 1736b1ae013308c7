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
-- All of them: there are as many as files.
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
-- Until this transaction ends no migrator begins; false while one is at work, whose schema is not yet
-- what it will be.
select pg_try_advisory_xact_lock_shared(:lock_key::bigint);
