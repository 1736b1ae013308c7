-- Counts of flag evaluations by outcome.
-- Owner: flags/.

-- name: add_flag_usage(environments, keys, reasons, variants, counts)!
-- Ordered by key, so that two instances that add at the same time cannot deadlock.
insert into flag_usage (environment, key, reason, variant, count, last_evaluated_at)
select
    added.environment,
    added.key,
    added.reason,
    added.variant,
    added.count,
    current_timestamp
from unnest(
    :environments::text[],
    :keys::text[],
    :reasons::text[],
    :variants::text[],
    :counts::bigint[]
) as added (environment, key, reason, variant, count)
join environments
    on environments.name = added.environment
    and environments.deleted_at is null
order by
    added.environment,
    added.key,
    added.reason,
    added.variant
on conflict on constraint flag_usage_pkey do update
set count = flag_usage.count + excluded.count,
    last_evaluated_at = excluded.last_evaluated_at;

-- name: add_flag_usage_hours(environments, keys, variants, counts)!
-- In the current hour. Ordered by key, so that two instances cannot deadlock.
insert into flag_usage_hours (environment, key, hour, variant, count)
select
    added.environment,
    added.key,
    date_trunc('hour', current_timestamp, 'UTC'),
    added.variant,
    added.count
from unnest(
    :environments::text[],
    :keys::text[],
    :variants::text[],
    :counts::bigint[]
) as added (environment, key, variant, count)
join environments
    on environments.name = added.environment
    and environments.deleted_at is null
order by
    added.environment,
    added.key,
    added.variant
on conflict on constraint flag_usage_hours_pkey do update
set count = flag_usage_hours.count + excluded.count;

-- name: delete_flag_usage_hours(before)!
delete from flag_usage_hours
where hour < :before;

-- name: list_flag_usage_hours(environment, key, since)
-- The hours of one flag. Older rows than the environment belong to a deleted one of the same name.
select
    flag_usage_hours.hour,
    flag_usage_hours.variant,
    flag_usage_hours.count
from flag_usage_hours
join environments on environments.name = flag_usage_hours.environment
where flag_usage_hours.environment = :environment
  and flag_usage_hours.key = :key
  and flag_usage_hours.hour >= :since
  and flag_usage_hours.hour >= date_trunc('hour', environments.created_at, 'UTC')
order by
    flag_usage_hours.hour,
    flag_usage_hours.variant;

-- name: list_usage_of_flag(environment, key)
-- One row per outcome of one flag.
select
    reason,
    variant,
    count,
    last_evaluated_at
from flag_usage
where environment = :environment
  and key = :key
order by count desc;

-- name: list_flag_usage(environment, prefixes)
-- Every flag, with one row per outcome, or one row without outcome. `prefixes` null is all keys.
select
    configurations.key,
    configurations.created_at,
    flag_usage.reason,
    flag_usage.variant,
    flag_usage.count,
    flag_usage.last_evaluated_at
from configurations
left join flag_usage
    on flag_usage.environment = configurations.environment
    and flag_usage.key = configurations.key
where configurations.environment = :environment
  and configurations.kind = 'flag'
  and (
    :prefixes::text[] is null
    or configurations.key ^@ (:prefixes::text[])[width_bucket(configurations.key, :prefixes::text[])]
  )
order by
    configurations.key,
    flag_usage.count desc nulls last;

-- name: list_last_evaluations(environment)
select
    key,
    max(last_evaluated_at) as last_evaluated_at
from flag_usage
where environment = :environment
group by key;
