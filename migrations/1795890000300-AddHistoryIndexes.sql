-- Indexes for reading the history of an environment. The tables are still empty.
-- type: schema
-- phase: index
-- squawk-ignore-file require-concurrent-index-creation

-- For the revision at a given time (?at=).
create index change_sets_environment_created_at_index
    on change_sets (environment, created_at, revision);

-- For the history of one key, and for its last version when it is created again.
create index changes_environment_key_index on changes (environment, key, revision);
