-- The access log.
-- Owner: access/.

-- name: insert_accesses(accesses)!
-- Insert any number of rows. A row without a time gets the time of the transaction.
insert into access_log (
    at,
    last_at,
    count,
    event,
    decision,
    actor,
    token_id,
    client,
    request_id,
    method,
    route,
    environment,
    resource,
    version,
    detail
)
select
    coalesce(accesses.at, current_timestamp),
    coalesce(accesses.last_at, current_timestamp),
    accesses.count,
    accesses.event,
    accesses.decision,
    accesses.actor,
    accesses.token_id,
    accesses.client,
    accesses.request_id,
    accesses.method,
    accesses.route,
    accesses.environment,
    accesses.resource,
    accesses.version,
    accesses.detail
from jsonb_populate_recordset(null::access_log, :accesses::jsonb) as accesses;

-- name: delete_accesses(before, rows_max)$
-- Only the owner may delete rows. One statement deletes a limited number, to stay within its time
-- limit.
with trimmed as (
    delete from access_log
    where id = any(
        array(
            select id
            from access_log
            where at < :before
            order by at
            limit :rows_max
        )
    )
    returning id
)

select count(*)
from trimmed;

-- name: list_accesses(before, event, environment, environments, page_size)
-- Latest first. `before` is the last id of the previous page. Null `environments` means all rows,
-- also those without an environment. A list excludes rows of a deleted environment that had the
-- same name.
select
    id,
    at,
    last_at,
    count,
    event,
    decision,
    actor,
    token_id,
    client,
    request_id,
    method,
    route,
    environment,
    resource,
    version,
    detail
from access_log
where id < :before
  and (:event::text is null or event = :event)
  and (:environment::text is null or environment = :environment)
  and (
      :environments::text[] is null
      or exists (
          select 1
          from environments
          where environments.name = any(:environments::text[])
            and environments.name = access_log.environment
            and environments.created_at <= access_log.last_at
      )
  )
order by id desc
limit :page_size;

-- name: insert_restoration(actor, resource, detail)!
-- Not insert_accesses: this must be in the transaction of the restore, which runs on psycopg.
insert into access_log (event, decision, actor, resource, detail)
values ('backup_restored', 'allowed', :actor, :resource, :detail);
