-- What a server says about itself, so that a former primary is recognized.

-- name: get_primary_state()^
-- The checkpoint names a timeline too, but a promoted server has the first one only minutes later. A
-- standby knows the timeline up to which it has replayed. Every role may call these functions.
select
    not pg_is_in_recovery()
        and current_setting('transaction_read_only') = 'off' as takes_writes,
    (select system_identifier::text from pg_control_system()) as system,
    case
        when pg_is_in_recovery() then (
            select greatest(checkpoints.timeline_id, recovery.min_recovery_end_timeline)
            from pg_control_checkpoint() as checkpoints
            cross join pg_control_recovery() as recovery
        )
        else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
    end as timeline;

-- name: get_primary_mode()^
-- For a managed server without the functions above.
select
    not pg_is_in_recovery()
        and current_setting('transaction_read_only') = 'off' as takes_writes,
    null as system,
    null as timeline;

-- name: is_behind(environments, epochs, revisions)$
-- Whether an environment has fewer revisions than were read before. A new epoch may begin lower.
select exists (
    select 1
    from environments
    join unnest(
        :environments::text[],
        :epochs::uuid[],
        :revisions::bigint[]
    ) as known (name, epoch, revision)
        on known.name = environments.name
        and known.epoch = environments.epoch
    where environments.revision < known.revision
);
