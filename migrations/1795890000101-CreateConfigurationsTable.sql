-- The current settings, flags, segments and secrets. The past is in change_sets and changes.
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
    constraint configurations_environment_key_unique unique (environment, key),
    constraint configurations_key_well_formed
        check (key ~ '^[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}$'),
    constraint configurations_kind_known
        check (kind in ('setting', 'flag', 'segment', 'secret')),
    constraint configurations_secret_sealed
        check ((kind = 'secret') = (sealed is not null) and (kind = 'secret') = (value is null)),
    constraint configurations_version_positive check (version > 0),
    constraint configurations_revision_positive check (updated_revision > 0)
);

comment on table configurations is 'The current entries: one row for each key of an environment.';
comment on column configurations.value is 'The value of a setting, flag or segment. Null for a secret; a JSON null is a value.';
comment on column configurations.sealed is 'The encrypted value of a secret. Bytes 3 to 10 are the id of its data key.';
comment on column configurations.schema is 'A JSON Schema that the value must match.';
comment on column configurations.version is 'The number of changes of this key. It continues when a deleted key is created again.';
comment on column configurations.updated_revision is 'The revision of the latest change.';
