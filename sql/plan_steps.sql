-- Steps of plans, and which of them the history has.
-- Owner: configuration/changes/.

-- name: save_plan_steps(environment, revision, keys, step_keys, steps, begins_at)!
-- The steps of changed flags. One that has begun already has no entry of its own: the change set
-- that stores it says so. A step that has not changed is left as it is.
with planned as (
    select
        planned.key collate "C" as key,
        planned.step,
        to_timestamp(planned.begins_at) as begins_at
    from unnest(:step_keys::text[], :steps::bigint[], :begins_at::bigint[])
        as planned (key, step, begins_at)
),
removed as (
    delete from plan_steps
    where plan_steps.environment = :environment
      and plan_steps.key = any(:keys::text[])
      and not exists (
          select 1
          from planned
          where planned.key = plan_steps.key
            and planned.step = plan_steps.step
      )
)
insert into plan_steps (environment, key, step, begins_at, revision)
select
    :environment,
    planned.key,
    planned.step,
    planned.begins_at,
    case when planned.begins_at <= current_timestamp then :revision::bigint end
from planned
on conflict on constraint plan_steps_pkey do update
set begins_at = excluded.begins_at,
    revision = excluded.revision
where plan_steps.begins_at <> excluded.begins_at;

-- name: list_next_plan_steps(page_size)
-- The next steps that the history lacks, over all environments.
select
    environment,
    extract(epoch from begins_at - clock_timestamp())::double precision as seconds_left
from plan_steps
where revision is null
order by begins_at
limit :page_size;

-- name: list_begun_plan_steps(environment, page_size)
-- The steps of an environment that have begun, and that the history lacks.
select
    key,
    step,
    extract(epoch from begins_at)::bigint as begins_at
from plan_steps
where environment = :environment
  and revision is null
  and begins_at <= current_timestamp
order by
    begins_at,
    key,
    step
limit :page_size;

-- name: record_plan_step(environment, key, step, revision)!
update plan_steps
set revision = :revision
where environment = :environment
  and key = :key
  and step = :step;

-- name: delete_plan_steps(environment, key)!
delete from plan_steps
where environment = :environment
  and key = :key;

-- name: delete_all_plan_steps(environment)!
delete from plan_steps
where environment = :environment;
