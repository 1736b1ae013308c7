-- Expand: an index on the creations and deletions of keys, so that a read of the past skips all
-- other changes. A write of an existing key does not touch it.
-- type: schema
-- phase: index
-- transactional: false
-- The file drops the index first, so it can run twice; and it runs outside of a transaction.
-- squawk-ignore-file prefer-robust-stmts, ban-concurrent-index-creation-in-transaction

-- The build waits for older transactions, for example of a backup. Meanwhile it blocks no write.
set lock_timeout = '5min';

set statement_timeout = '1h';

-- An interrupted run leaves an invalid index.
drop index concurrently if exists changes_lifetimes_index;

create index concurrently changes_lifetimes_index
    on changes (environment, key, revision desc)
    include (after_version)
    where before_version is null or after_version is null;
