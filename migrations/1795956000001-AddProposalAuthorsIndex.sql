-- Expand: an index on who wrote proposals, for the inbox of an author. Without it, each count reads
-- all events.
-- type: schema
-- phase: index
-- transactional: false
-- The file drops the index first, so it can run twice; and it runs outside of a transaction.
-- squawk-ignore-file prefer-robust-stmts, ban-concurrent-index-creation-in-transaction

-- The build waits for older transactions, for example of a backup. Meanwhile it blocks no write.
set lock_timeout = '5min';

set statement_timeout = '1h';

-- An interrupted run leaves an invalid index.
drop index concurrently if exists proposal_events_author_index;

create index concurrently proposal_events_author_index
    on proposal_events (actor, proposal_id)
    where event in ('created', 'edited');
