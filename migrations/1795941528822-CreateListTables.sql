-- Expand: the values of large lists. An entry of kind segment names a list by its digest, and
-- earlier releases refuse to evaluate such an entry.
-- type: schema
-- phase: core
-- A smaller row matters in a table with millions of them, and no list has two billion states.
-- squawk-ignore-file prefer-bigint-over-int
create table list_stores (
    id          bigint      generated always as identity,
    salt        bytea       not null,
    head        integer     not null default 0,
    created_at  timestamptz not null default current_timestamp,

    constraint list_stores_pkey primary key (id),
    constraint list_stores_salt_length check (octet_length(salt) = 16),
    constraint list_stores_head_not_negative check (head >= 0)
);

comment on table list_stores is 'The values of a list through its changes. A store without a state is an upload that has not ended.';
comment on column list_stores.salt is 'Makes the hashes of values unpredictable, so that no client can choose a value that collides.';
comment on column list_stores.head is 'The number of the latest state. Only that can be changed further.';

-- No foreign key to list_stores: its check would take most of the time to insert a million rows.
-- The key begins with the hash, so that ranges of it are pages of equal size.
create table list_values (
    store       bigint      not null,
    hash        bigint      not null,
    value       text        not null collate "C",
    expires_at  timestamptz,
    added       integer     not null default 0,
    removed     integer,

    constraint list_values_pkey primary key (store, hash, value, added),
    constraint list_values_value_length check (char_length(value) between 1 and 255),
    constraint list_values_added_not_negative check (added >= 0),
    constraint list_values_removed_later check (removed > added)
);

comment on table list_values is 'The values of lists, also removed ones: each state of a list stays readable.';
comment on column list_values.hash is 'Eight bytes of BLAKE2b of the value, with the salt of the store.';
comment on column list_values.added is 'The first state that has the value.';
comment on column list_values.removed is 'The first state that does not have the value any more. Null if the latest one has it.';

create table list_states (
    store       bigint      not null,
    sequence    integer     not null,
    digest      bytea       not null,
    count       integer     not null,
    sum         bytea       not null,
    created_at  timestamptz not null default current_timestamp,

    constraint list_states_pkey primary key (store, sequence),
    constraint list_states_store_fkey foreign key (store) references list_stores (id),
    constraint list_states_sequence_not_negative check (sequence >= 0),
    constraint list_states_digest_length check (octet_length(digest) = 32),
    constraint list_states_count_limited check (count between 0 and 1000000),
    constraint list_states_sum_length check (octet_length(sum) = 512)
);

comment on table list_states is 'The states of lists by digest. Entries and their history name a state by its digest. Append-only.';
comment on column list_states.sum is 'The sum of the hashes of all values, from which the digest of the next state is computed.';

create index list_states_digest_index on list_states (digest);

create index list_values_added_index on list_values (store, added) where added > 0;

create index list_values_removed_index on list_values (store, removed) where removed is not null;

create index list_values_expiring_index on list_values (store, expires_at)
    where expires_at is not null and removed is null;
