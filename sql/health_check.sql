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

-- name: summarize_heartbeats(since, bucket_seconds, instances_max)
-- The heartbeats of each instance in periods of equal length. The row without a bucket is the whole.
select
    instance,
    (floor(extract(epoch from checked_at - :since::timestamptz) / :bucket_seconds::integer))::integer as bucket,
    count(*) filter (where status = 'ok') as good,
    count(*) filter (where status <> 'ok') as missed,
    max(checked_at) as last_at,
    percentile_disc(0.5) within group (order by latency_ms) as latency_p50_ms,
    percentile_disc(0.99) within group (order by latency_ms) as latency_p99_ms
from health_check
where checked_at >= :since::timestamptz
  and instance in (
      select recent.instance
      from health_check as recent
      where recent.checked_at >= :since::timestamptz
      group by recent.instance
      order by max(recent.checked_at) desc
      limit :instances_max::integer
  )
group by grouping sets (
    (instance, (floor(extract(epoch from checked_at - :since::timestamptz) / :bucket_seconds::integer))::integer),
    (instance)
)
order by
    instance,
    bucket nulls first;
