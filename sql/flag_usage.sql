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

-- name: list_flag_usage(environment)
-- Every flag, with one row per outcome, or one row without outcome.
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
order by
    configurations.key,
    flag_usage.count desc nulls last;
