-- Queries of a connection about its server: whether it is a pooler, and whether it is the primary.
-- Owner: database/client/.

-- name: get_backend_id()$
select pg_backend_pid();

-- name: is_statement_known(statement)$
-- A pooler that supports prepared statements gives them its own names.
select exists (
    select 1
    from pg_prepared_statements
    where name = :statement
);

-- name: get_primary_state()^
-- The checkpoint has a timeline too, but for minutes after a promotion it is the old one. A standby
-- knows the timeline up to which it has replayed. Every role may call these functions.
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
-- The same for a managed server without these functions.
select
    not pg_is_in_recovery()
        and current_setting('transaction_read_only') = 'off' as takes_writes,
    null as system,
    null as timeline;
