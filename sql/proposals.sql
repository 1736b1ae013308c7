-- Proposals, their events, and the sealed secrets of those that are not decided.
-- Owner: configuration/proposals/.

-- name: insert_proposal(environments, title, message, operations, state, author, required, covered)$
insert into proposals (
    environments, title, message, operations, state, author, required, covered
)
values (
    :environments,
    :title,
    :message,
    :operations::jsonb,
    :state,
    :author,
    :required::jsonb,
    :covered::jsonb
)
returning id;

-- name: insert_proposal_event(proposal_id, version, event, actor, environments, text, approved_keys)!
-- The caller holds the lock proposal_events, so that ids have the order of the commits: a stream reads
-- the events after the last id that it has sent.
insert into proposal_events (
    proposal_id, version, event, actor, environments, text, approved_keys
)
values (
    :proposal_id, :version, :event, :actor, :environments, :text, :approved_keys::jsonb
);

-- name: announce_proposals()$
select pg_notify('flagstone', 'proposals')::text;

-- name: find_proposal(id)^
-- `is_outdated` says that one of the environments was deleted since, even if there is another one of
-- the same name.
select
    proposals.id,
    proposals.environments,
    proposals.title,
    proposals.message,
    proposals.operations,
    proposals.version,
    proposals.state,
    proposals.author,
    proposals.created_at,
    proposals.updated_at,
    proposals.apply_at,
    proposals.expires_after_seconds,
    proposals.scheduled_by,
    proposals.reason,
    proposals.required,
    proposals.covered,
    proposals.applied,
    (
        select count(*) < cardinality(proposals.environments)
        from environments
        where environments.name = any(proposals.environments)
          and environments.deleted_at is null
          and environments.created_at <= proposals.created_at
    ) as is_outdated
from proposals
where proposals.id = :id;

-- name: lock_proposal(id)$
select id
from proposals
where id = :id
for no key update;

-- name: update_proposal(id, environments, title, message, operations, version, state, required, covered)!
-- An edit. It ends a schedule.
update proposals
set environments = :environments,
    title = :title,
    message = :message,
    operations = :operations::jsonb,
    version = :version,
    state = :state,
    required = :required::jsonb,
    covered = :covered::jsonb,
    apply_at = null,
    expires_after_seconds = null,
    scheduled_by = null,
    reason = null,
    updated_at = current_timestamp
where id = :id;

-- name: update_proposal_state(id, state, required, covered, reason, applied)!
-- A null `required` or `covered` leaves it as it is.
update proposals
set state = :state,
    required = coalesce(:required::jsonb, required),
    covered = coalesce(:covered::jsonb, covered),
    reason = :reason,
    applied = :applied::jsonb,
    updated_at = current_timestamp
where id = :id;

-- name: schedule_proposal(id, state, apply_at, expires_after_seconds, scheduled_by)!
update proposals
set state = :state,
    apply_at = :apply_at,
    expires_after_seconds = :expires_after_seconds,
    scheduled_by = :scheduled_by,
    updated_at = current_timestamp
where id = :id;

-- name: list_proposals(before, states, environment, author, ids, own_environments, own_prefixes, page_size)
-- The latest first. Null filters match all. `own_environments` and `own_prefixes` are pairs: the keys
-- that the caller may read, null for all. Properties of an environment have no key, and belong to all
-- keys. A proposal for a deleted environment is not for another one of the same name, so as in
-- find_proposal only callers with rights in every environment see it.
select
    proposals.id,
    proposals.environments,
    proposals.title,
    proposals.message,
    proposals.version,
    proposals.state,
    proposals.author,
    proposals.created_at,
    proposals.updated_at,
    proposals.apply_at,
    proposals.expires_after_seconds,
    proposals.scheduled_by,
    proposals.reason,
    proposals.applied,
    own.environments as own_environments,
    own.operations as operations_count,
    jsonb_array_length(proposals.operations) as all_count
from proposals
cross join lateral (
    select
        count(*) as operations,
        array_agg(distinct operation.content ->> 'environment') as environments
    from jsonb_array_elements(proposals.operations) as operation (content)
    where :own_environments::text[] is null
       or exists (
           select
           from unnest(:own_environments::text[], :own_prefixes::text[])
               as pair (environment, prefix)
           where pair.environment in ('*', operation.content ->> 'environment')
             and starts_with(coalesce(operation.content ->> 'key', ''), pair.prefix)
       )
) as own
where proposals.id < :before
  and (:states::text[] is null or proposals.state = any(:states::text[]))
  and (:environment::text is null or :environment = any(own.environments))
  and (:author::text is null or proposals.author = :author)
  and (:ids::bigint[] is null or proposals.id = any(:ids::bigint[]))
  and own.operations > 0
  and (
      :own_environments::text[] is null
      or '*' = any(:own_environments::text[])
      or (
          select count(*) = cardinality(proposals.environments)
          from environments
          where environments.name = any(proposals.environments)
            and environments.deleted_at is null
            and environments.created_at <= proposals.created_at
      )
  )
order by proposals.id desc
limit :page_size;

-- name: list_proposals_in_review(page_size)
-- The latest first, with the keys that need approvals, who wrote each proposal, and the approvals of
-- its version. Earlier releases stored no keys: then each one needs approvals.
select
    proposals.id,
    case
        when proposals.covered <> '{}' then proposals.covered
        else (
            select coalesce(jsonb_object_agg(proposed.environment, proposed.keys), '{}')
            from (
                select
                    operation.content ->> 'environment' as environment,
                    jsonb_agg(coalesce(operation.content ->> 'key', '')) as keys
                from jsonb_array_elements(proposals.operations) as operation (content)
                where proposals.required ? (operation.content ->> 'environment')
                group by operation.content ->> 'environment'
            ) as proposed
        )
    end as covered,
    array(
        select distinct actor
        from proposal_events
        where proposal_id = proposals.id
          and event in ('created', 'edited')
    ) as authors,
    (
        select
            coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'actor', actor,
                        'environments', environments,
                        'approved_keys', approved_keys
                    )
                    order by id
                ),
                '[]'
            )
        from proposal_events
        where proposal_id = proposals.id
          and event = 'approved'
          and version = proposals.version
    ) as approvals
from proposals
where proposals.state in ('open', 'approved', 'scheduled')
  and proposals.required <> '{}'
  and (
      select count(*) = cardinality(proposals.environments)
      from environments
      where environments.name = any(proposals.environments)
        and environments.deleted_at is null
        and environments.created_at <= proposals.created_at
  )
order by proposals.id desc
limit :page_size;

-- name: list_proposal_news(actor, own_environments, own_prefixes, page_size)
-- What others did to the proposals of an author since the author last looked, at most 30 days ago.
-- A schedule acts in the name of its author, so its results are news too. `own_environments` and
-- `own_prefixes` are as in list_proposals.
select
    proposals.id,
    array_agg(distinct proposal_events.event) as events
from proposals
join proposal_events on proposal_events.proposal_id = proposals.id
left join proposal_visits
    on proposal_visits.proposal_id = proposals.id
    and proposal_visits.actor = :actor
where proposals.id in (
    select written.proposal_id
    from proposal_events as written
    where written.actor = :actor
      and written.event in ('created', 'edited')
)
  and (
      :own_environments::text[] is null
      or exists (
          select
          from jsonb_array_elements(proposals.operations) as operation (content)
          join unnest(:own_environments::text[], :own_prefixes::text[])
              as pair (environment, prefix)
              on pair.environment in ('*', operation.content ->> 'environment')
              and starts_with(coalesce(operation.content ->> 'key', ''), pair.prefix)
      )
  )
  and proposal_events.id > coalesce(proposal_visits.event_id, 0)
  and proposal_events.at > current_timestamp - interval '30 days'
  and proposal_events.event in ('approved', 'rejected', 'commented', 'applied', 'failed')
  and (
      proposal_events.actor <> :actor
      or proposal_events.event = 'failed'
      or (proposal_events.event = 'applied' and proposals.apply_at is not null)
  )
group by proposals.id
order by max(proposal_events.id) desc
limit :page_size;

-- name: upsert_proposal_visit(actor, proposal_id)!
-- Does nothing for those who have not written the proposal.
insert into proposal_visits (actor, proposal_id, event_id)
select
    :actor,
    :proposal_id,
    max(id)
from proposal_events
where proposal_id = :proposal_id
having bool_or(actor = :actor and event in ('created', 'edited'))
on conflict on constraint proposal_visits_pkey do update
set event_id = excluded.event_id
where proposal_visits.event_id < excluded.event_id;

-- name: count_proposals()
-- For the metrics.
select
    state,
    count(*) as proposals
from proposals
where state in ('draft', 'open', 'approved', 'scheduled')
group by state;

-- name: list_proposal_events(proposal_id)
select
    id,
    version,
    event,
    actor,
    environments,
    text,
    at,
    approved_keys
from proposal_events
where proposal_id = :proposal_id
order by id;

-- name: list_proposal_events_after(after, own_environments, own_prefixes, page_size)
-- For the streams. `own_environments` and `own_prefixes` are as in list_proposals. An event is for
-- those who may read all keys of one of its environments, or a key of the proposal there.
select
    proposal_events.id,
    proposal_events.proposal_id,
    proposal_events.version,
    proposal_events.event,
    proposal_events.actor,
    proposal_events.at,
    proposals.title,
    proposals.state,
    own.environments
from proposal_events
join proposals on proposals.id = proposal_events.proposal_id
cross join lateral (
    select array_agg(named.environment order by named.environment) as environments
    from unnest(proposal_events.environments) as named (environment)
    where :own_environments::text[] is null
       or exists (
           select
           from unnest(:own_environments::text[], :own_prefixes::text[])
               as pair (environment, prefix)
           where pair.environment in ('*', named.environment)
             and (
                 pair.prefix = ''
                 or exists (
                     select
                     from jsonb_array_elements(proposals.operations) as operation (content)
                     where operation.content ->> 'environment' = named.environment
                       and starts_with(operation.content ->> 'key', pair.prefix)
                 )
             )
       )
) as own
where proposal_events.id > :after
  and own.environments is not null
  and (
      :own_environments::text[] is null
      or '*' = any(:own_environments::text[])
      or exists (
          select
          from environments
          where environments.name = any(own.environments)
            and environments.created_at <= proposals.created_at
      )
  )
order by proposal_events.id
limit :page_size;

-- name: insert_proposal_secrets(proposal_id, version, environments, keys, sealed)!
insert into proposal_secrets (proposal_id, environment, key, version, sealed)
select
    :proposal_id,
    secret.environment,
    secret.key,
    :version,
    secret.sealed
from unnest(:environments::text[], :keys::text[], :sealed::bytea[])
    as secret (environment, key, sealed);

-- name: delete_proposal_secrets(proposal_id)!
delete from proposal_secrets
where proposal_id = :proposal_id;

-- name: list_proposal_secrets(proposal_id)
select
    environment,
    key,
    version,
    sealed
from proposal_secrets
where proposal_id = :proposal_id;

-- name: list_proposal_bases(environment, keys, versions)
-- The contents that the author of a proposal saw: what each key had at a version.
select
    requested.key,
    written.after_kind as kind,
    written.after_value as value,
    written.after_sealed as sealed,
    written.after_schema as schema,
    written.after_description as description,
    written.after_version as version
from unnest(:keys::text[], :versions::bigint[]) as requested (key, version)
join lateral (
    select
        changes.after_kind,
        changes.after_value,
        changes.after_sealed,
        changes.after_schema,
        changes.after_description,
        changes.after_version
    from changes
    where changes.environment = :environment
      and changes.key = requested.key
      and changes.after_version = requested.version
    order by changes.revision desc
    limit 1
) as written on true;

-- name: lock_due_proposal(id, version)^
-- Returns null if another replica applies it, or if it was edited or is no longer scheduled. The clock
-- of the database decides what is due.
select
    apply_at,
    scheduled_by,
    expires_after_seconds,
    extract(epoch from clock_timestamp() - apply_at)::float8 as late_seconds
from proposals
where id = :id
  and version = :version
  and state = 'scheduled'
  and apply_at <= clock_timestamp()
for no key update skip locked;

-- name: watch_proposals(due_max)^
-- The scheduled proposals that are due, the seconds until the next one, and the latest event.
select
    array(
        select id
        from proposals
        where state = 'scheduled'
          and apply_at <= clock_timestamp()
        order by apply_at
        limit :due_max
    ) as due,
    (
        select extract(epoch from min(apply_at) - clock_timestamp())::float8
        from proposals
        where state = 'scheduled'
          and apply_at > clock_timestamp()
    ) as next_seconds,
    (
        select coalesce(max(id), 0)
        from proposal_events
    ) as latest_event;

-- name: get_delay(at)$
-- The seconds until a time, by the clock of the database.
select extract(epoch from :at::timestamptz - clock_timestamp())::float8;

-- name: list_holders(actors)
-- The token that each actor has now: a rotated token was replaced by another one. `root` is the
-- first of them, so that two tokens of one person are one person.
with recursive back as (
    select
        requested.id as requested,
        tokens.id,
        0 as steps
    from unnest(:actors::text[]) as requested (id)
    join tokens on tokens.id = requested.id
    union all
    select
        back.requested,
        tokens.id,
        back.steps + 1
    from back
    join tokens on tokens.replaced_by = back.id
    where back.steps < 1000
),
onward as (
    select
        requested.id as requested,
        tokens.id,
        tokens.replaced_by,
        0 as steps
    from unnest(:actors::text[]) as requested (id)
    join tokens on tokens.id = requested.id
    union all
    select
        onward.requested,
        tokens.id,
        tokens.replaced_by,
        onward.steps + 1
    from onward
    join tokens on tokens.id = onward.replaced_by
    where onward.steps < 1000
)
select
    onward.requested as id,
    (
        select back.id
        from back
        where back.requested = onward.requested
        order by back.steps desc
        limit 1
    ) as root,
    tokens.revoked_at is null
    and coalesce(least(tokens.expires_at, tokens.retires_at), 'infinity') > current_timestamp
        as is_usable,
    tokens.scopes,
    tokens.prefixes,
    array(
        select named.environment
        from unnest(tokens.environments) as named (environment)
        where named.environment <> all(tokens.lapsed)
    ) as environments
from onward
join tokens on tokens.id = onward.id
where onward.replaced_by is null;
