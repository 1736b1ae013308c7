-- Expand: each change set carries the hash that binds it to all before it, so that no past can be swapped unseen.
-- type: schema
-- phase: core
-- Checking looks at each row once, and blocks writers for that long: no installation has many rows yet.
-- squawk-ignore-file constraint-missing-not-valid
alter table change_sets
    add column hash bytea,
    add constraint change_sets_hash_length check (octet_length(hash) = 32);

-- On the row that queues the writers: whoever gets its lock reads the hash of whoever had it last.
alter table environments
    add column hash bytea,
    add constraint environments_hash_length check (octet_length(hash) = 32);

comment on column change_sets.hash is 'SHA-256 of the hash before and of all that this change set says. Null for those that are older than the chain.';
comment on column environments.hash is 'That of the latest change set.';
