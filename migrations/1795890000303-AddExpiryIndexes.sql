-- Indexes that find old rows to delete.
-- type: schema
-- phase: index
-- squawk-ignore-file require-concurrent-index-creation

-- Also for the heartbeats in the order of time.
create index health_check_checked_at_index on health_check (checked_at);

create index idempotency_keys_created_at_index on idempotency_keys (created_at);

create index access_log_at_index on access_log (at);
