-- Expand: an index on who made the change sets, for the authors of a history and for its filter.
-- Without it, both read the whole history.
-- type: schema
-- phase: index
-- transactional: false
-- The file drops the index first, so it can run twice; and it runs outside of a transaction.
-- squawk-ignore-file prefer-robust-stmts, ban-concurrent-index-creation-in-transaction

-- The build waits for older transactions, for example of a backup. Meanwhile it blocks no write.
set lock_timeout = '5min';

set statement_timeout = '1h';

-- An interrupted run leaves an invalid index.
drop index concurrently if exists change_sets_actor_index;

create index concurrently change_sets_actor_index
    on change_sets (environment, actor, revision desc);
