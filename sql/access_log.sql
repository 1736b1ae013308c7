-- The access log.
-- Owner: access/.

-- name: insert_accesses(ats, last_ats, counts, events, decisions, actors, token_ids, clients, request_ids, methods, routes, environments, resources, versions, details)!
-- Any number in one statement. What is recorded with its transaction has the transaction's time.
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
    coalesce(told.at, current_timestamp),
    coalesce(told.last_at, current_timestamp),
    told.count,
    told.event,
    told.decision,
    told.actor,
    told.token_id,
    told.client,
    told.request_id,
    told.method,
    told.route,
    told.environment,
    told.resource,
    told.version,
    told.detail
from unnest(
    :ats::timestamptz[],
    :last_ats::timestamptz[],
    :counts::bigint[],
    :events::text[],
    :decisions::text[],
    :actors::text[],
    :token_ids::text[],
    :clients::text[],
    :request_ids::text[],
    :methods::text[],
    :routes::text[],
    :environments::text[],
    :resources::text[],
    :versions::bigint[],
    :details::text[]
) as told (
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
);

-- name: delete_accesses(before, rows_max)$
-- The owner's alone: the service may not. In pieces, so that each keeps to its time.
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
-- The latest first. `before` is the id that ended the last page. Null `environments` means all, and rows
-- without an environment. A list leaves out rows of a deleted environment that had the same name.
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
-- Here and not by the access log's own statement: it has to be in the transaction of the restore.
insert into access_log (event, decision, actor, resource, detail)
values ('backup_restored', 'allowed', :actor, :resource, :detail);
