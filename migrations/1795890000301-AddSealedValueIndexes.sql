-- Indexes that find sealed values by the id of their data key, which is in bytes 3 to 10.
-- type: schema
-- phase: index
-- squawk-ignore-file require-concurrent-index-creation
create index configurations_data_key_index on configurations (environment, substr(sealed, 3, 8))
    where sealed is not null;

create index changes_before_data_key_index on changes (environment, substr(before_sealed, 3, 8))
    where before_sealed is not null;

create index changes_after_data_key_index on changes (environment, substr(after_sealed, 3, 8))
    where after_sealed is not null;
