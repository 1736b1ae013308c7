-- Environments. Each row has the counter of the environment's revisions, and its lock orders writers.
-- type: schema
-- phase: core
create type environment_tier as enum ('local', 'development', 'staging', 'production');

create table environments (
    name            text             not null collate "C",
    tier            environment_tier not null,
    revision        bigint           not null default 0,
    first_revision  bigint           not null default 1,
    epoch           uuid             not null default gen_random_uuid(),
    hash            bytea,
    version         bigint           not null default 1,
    protected       boolean          not null default false,
    fractional      text             not null default 'v3',
    metadata        jsonb            not null default '{}',
    created_at      timestamptz      not null default current_timestamp,
    deleted_at      timestamptz,

    constraint environments_pkey primary key (name),
    constraint environments_name_well_formed check (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    constraint environments_revision_not_negative check (revision >= 0),
    constraint environments_first_revision_within
        check (first_revision between 1 and greatest(revision, 0) + 1),
    constraint environments_hash_length check (octet_length(hash) = 32),
    constraint environments_version_positive check (version > 0),
    constraint environments_fractional_known check (fractional in ('v2', 'v3')),
    constraint environments_metadata_object check (jsonb_typeof(metadata) = 'object')
);

comment on table environments is 'Environments, including deleted ones: their history stays, and their names can be used again.';
comment on column environments.revision is 'The latest revision: the number of change sets.';
comment on column environments.first_revision is 'The first revision of this environment. Earlier ones belong to deleted environments of the same name.';
comment on column environments.epoch is 'Changes when a backup is restored, so that clients do not mix revisions from before and after.';
comment on column environments.hash is 'The hash of the latest change set.';
comment on column environments.version is 'The number of changes of metadata, fractional and protected, plus 1.';
comment on column environments.protected is 'Whether the environment cannot be deleted.';
comment on column environments.fractional is 'The generation of flagd''s bucketing for its flags. It never changes silently.';
comment on column environments.metadata is 'The metadata of the flag set, in flagd''s format.';
comment on column environments.deleted_at is 'When a change set of kind delete ended its history. Null while it exists.';
