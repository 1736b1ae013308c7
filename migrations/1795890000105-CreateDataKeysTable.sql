-- The data keys that encrypt secrets. A key outside of the database wraps each of them.
-- type: schema
-- phase: core
create table data_keys (
    environment   text        not null collate "C",
    id            bytea       not null,
    kek_id        text        not null,
    wrapped       bytea,
    created_at    timestamptz not null default current_timestamp,
    retired_at    timestamptz,
    destroyed_at  timestamptz,

    constraint data_keys_pkey primary key (environment, id),
    -- Not a unique index: code refers to the name of this rule, and an index has no constraint name.
    constraint data_keys_one_active exclude using btree (environment with =)
        where (retired_at is null),
    constraint data_keys_id_length check (octet_length(id) = 8),
    constraint data_keys_kek_id_well_formed check (kek_id ~ '^[!-~]{1,200}$'),
    constraint data_keys_wrapped_unless_destroyed
        check ((wrapped is null) = (destroyed_at is not null)),
    constraint data_keys_retired_if_destroyed
        check (destroyed_at is null or retired_at is not null)
);

comment on table data_keys is 'One active data key per environment. Retired keys open the values that they sealed.';
comment on column data_keys.kek_id is 'The key-encryption key that wraps it: from the key ring, or from a KMS.';
comment on column data_keys.wrapped is 'The encrypted key. Null once it is destroyed: its sealed values can never be opened again.';
