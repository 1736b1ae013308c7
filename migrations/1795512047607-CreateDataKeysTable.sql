-- Expand: the data keys that secrets are sealed with, each wrapped by a key that the database never sees.
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
    constraint data_keys_environment_fkey
        foreign key (environment) references environments (name),
    constraint data_keys_id_length check (octet_length(id) = 8),
    constraint data_keys_kek_id_well_formed check (kek_id ~ '^[!-~]{1,200}$'),
    constraint data_keys_wrapped_unless_destroyed
        check ((wrapped is null) = (destroyed_at is not null)),
    constraint data_keys_retired_if_destroyed
        check (destroyed_at is null or retired_at is not null),
    -- An exclusion and not a unique index, which would have no name that code can go by.
    constraint data_keys_one_active exclude using btree (environment with =)
        where (retired_at is null)
);

comment on table data_keys is 'One active an environment; the retired ones open what they have sealed.';
comment on column data_keys.kek_id is 'Which key-encryption key, of the key ring or of a KMS, has wrapped it.';
comment on column data_keys.wrapped is 'Null once it is destroyed: what it sealed can never be opened again.';
