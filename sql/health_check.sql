-- Heartbeats of every instance.
-- Owner: health/.

-- name: insert_heartbeat(instance, retention_seconds)^
-- One statement inserts and trims, so the table stays small while any instance writes. It also
-- deletes heartbeats of removed instances. It trims more rows than it inserts, and skips rows that
-- another instance is trimming.
with expired as (
    select health_check.id
    from health_check
    where health_check.checked_at
        < current_timestamp - make_interval(secs => :retention_seconds::double precision)
    order by health_check.checked_at
    limit 20
    for update skip locked
),

trimmed as (
    delete from health_check
    using expired
    where health_check.id = expired.id
)

insert into health_check (instance)
values (:instance)
returning id, status, checked_at;

-- name: update_heartbeat_latency(id, latency_ms)!
update health_check
set latency_ms = :latency_ms
where id = :id;

-- name: insert_missed_heartbeats(instance, times)!
-- Heartbeats that failed while the database was away, inserted when it is back.
insert into health_check (status, checked_at, instance)
select
    'fail',
    missed.checked_at,
    :instance
from unnest(:times::timestamptz[]) as missed (checked_at);

-- name: list_heartbeats(since, after_id, page_size)
select
    id,
    status,
    checked_at,
    instance,
    latency_ms
from health_check
where checked_at >= :since
  and id > :after_id
order by id
limit :page_size;
