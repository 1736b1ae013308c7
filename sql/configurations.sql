-- Configurations, as they are now. They are written by changes.sql alone.

-- name: find_configuration(environment, key)^
-- One row whenever the environment exists, so that one statement tells its absence from the key's,
-- and entry and revision are of the same moment. An entry that is not of its key's last change was
-- put there by hand, as when an old row is brought back whole.
select
    environments.revision,
    environments.epoch::text as epoch,
    configurations.id::text as id,
    configurations.environment,
    configurations.key,
    configurations.kind,
    configurations.value,
    configurations.sealed,
    configurations.schema,
    configurations.description,
    configurations.version,
    configurations.updated_revision,
    configurations.created_at,
    configurations.updated_at,
    (
        select changes.revision = configurations.updated_revision
        from changes
        where changes.environment = environments.name
          and changes.key = :key
        order by changes.revision desc
        limit 1
    ) as is_last_change
from environments
left join configurations
    on configurations.environment = environments.name
    and configurations.key = :key
where environments.name = :environment
  and environments.deleted_at is null;

-- name: list_configurations(environment, prefix, kind, after, page_size, page_bytes)
-- Keyset, not offset: pages stay stable while others insert. The lateral join keeps the environment's
-- row when there is no entry, and makes the page and its revision one moment.
select
    environments.revision,
    environments.epoch::text as epoch,
    page.id,
    page.environment,
    page.key,
    page.kind,
    page.value,
    page.schema,
    page.description,
    page.version,
    page.updated_revision,
    page.created_at,
    page.updated_at,
    page.has_more
from environments
left join lateral (
    select
        configurations.id::text as id,
        configurations.environment,
        configurations.key,
        configurations.kind,
        configurations.value,
        configurations.schema,
        configurations.description,
        configurations.version,
        configurations.updated_revision,
        configurations.created_at,
        configurations.updated_at,
        -- A secret has no value here, and a sum of nothing is null.
        coalesce(sum(octet_length(configurations.value::text)) over in_order, 0)
            - coalesce(octet_length(configurations.value::text), 0) as bytes_before,
        lead(configurations.key) over in_order is not null as has_more
    from configurations
    where configurations.environment = environments.name
      and configurations.key > :after
      and configurations.key >= :prefix
      and starts_with(configurations.key, :prefix)
      and (:kind::text is null or configurations.kind = :kind)
    window in_order as (order by configurations.key)
    order by configurations.key
    limit :page_size
) as page
    -- A page of large values ends early, but never before its first entry.
    on page.bytes_before < :page_bytes
where environments.name = :environment
  and environments.deleted_at is null
order by page.key;

-- name: summarise_configurations()
-- One row an environment, for the report: how many entries, how large, and what changed last.
select
    environments.name,
    environments.revision,
    count(configurations.key) filter (where configurations.kind = 'setting') as settings,
    count(configurations.key) filter (where configurations.kind = 'flag') as flags,
    count(configurations.key) filter (where configurations.kind = 'segment') as segments,
    count(configurations.key) filter (where configurations.kind = 'secret') as secrets,
    coalesce(sum(octet_length(configurations.value::text)), 0)::bigint as value_bytes,
    coalesce(max(octet_length(configurations.value::text)), 0)::bigint as largest_bytes,
    last_change.created_at as last_changed_at,
    last_change.actor as last_actor
from environments
left join configurations
    on configurations.environment = environments.name
left join change_sets as last_change
    on last_change.environment = environments.name
    and last_change.revision = environments.revision
where environments.deleted_at is null
group by
    environments.name,
    last_change.environment,
    last_change.revision
order by environments.name;
