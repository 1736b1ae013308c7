-- Expand: serves ?at=, which otherwise reads every change set that is younger than the time asked for.
-- type: schema
-- phase: index
-- transactional: false
-- squawk assumes a transaction for every file; this one has none.
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction, prefer-robust-stmts
-- Left invalid when it was interrupted, so it is dropped first: this file must run twice.
drop index concurrently if exists change_sets_environment_created_at_index;

create index concurrently change_sets_environment_created_at_index
    on change_sets (environment, created_at, revision);
