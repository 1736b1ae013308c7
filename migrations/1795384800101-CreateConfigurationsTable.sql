-- Configurations: what is true now. What was true is in change_sets and changes.
-- type: schema
-- phase: core
create table configurations (
    id                uuid        not null default gen_random_uuid(),
    environment       text        not null collate "C",
    key               text        not null collate "C",
    kind              text        not null,
    value             jsonb,
    sealed            bytea,
    schema            jsonb,
    description       text,
    version           bigint      not null,
    updated_revision  bigint      not null,
    created_at        timestamptz not null default current_timestamp,
    updated_at        timestamptz not null default current_timestamp,

    constraint configurations_pkey primary key (id),
    constraint configurations_environment_key_unique unique (environment, key)
);

comment on table configurations is 'Settings, flags, segments and secrets, one row a key of an environment.';
comment on column configurations.value is 'Null for a secret alone; a JSON null is a value.';
comment on column configurations.sealed is 'The encrypted value of a secret.';
comment on column configurations.schema is 'JSON Schema that the value keeps to.';
comment on column configurations.version is 'Counts the changes of this key; goes on when the key is deleted and made again.';
comment on column configurations.updated_revision is 'The revision of the environment that last touched it.';
