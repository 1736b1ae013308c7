-- Indexes of the baseline. The tables are empty when they are made, so nothing waits for them.
-- type: schema
-- phase: index
-- squawk-ignore-file require-concurrent-index-creation

-- Serves the trimming of old heartbeats, and their history in order of time.
create index health_check_checked_at_index on health_check (checked_at);

-- Serves the history of one key, and its last version when it is made again.
create index changes_environment_key_index on changes (environment, key, revision);

-- Serves the trimming of old answers.
create index idempotency_keys_created_at_index on idempotency_keys (created_at);
