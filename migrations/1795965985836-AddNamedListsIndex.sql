-- Expand: an index on the lists that entries have named, for the check whether an author of some
-- keys may name a list. Changes of other entries do not touch it.
-- type: schema
-- phase: index
-- transactional: false
-- The file drops the index first, so it can run twice; and it runs outside of a transaction.
-- squawk-ignore-file prefer-robust-stmts, ban-concurrent-index-creation-in-transaction

-- The build waits for older transactions, for example of a backup. Meanwhile it blocks no write.
set lock_timeout = '5min';

set statement_timeout = '1h';

-- An interrupted run leaves an invalid index.
drop index concurrently if exists changes_named_list_index;

-- A lenient import can store a malformed list. Its digest may be too long for an index.
create index concurrently changes_named_list_index
    on changes ((after_value #>> '{list,digest}'))
    where after_kind = 'segment' and char_length(after_value #>> '{list,digest}') = 64;
