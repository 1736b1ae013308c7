-- Environments: the row of each is also the counter that numbers its changes and queues its writers.
-- type: schema
-- phase: core
create type environment_tier as enum ('local', 'development', 'staging', 'production');

create table environments (
    name        text             not null collate "C",
    tier        environment_tier not null,
    revision    bigint           not null default 0,
    epoch       uuid             not null default gen_random_uuid(),
    protected   boolean          not null default false,
    fractional  text             not null default 'v3',
    metadata    jsonb            not null default '{}',
    created_at  timestamptz      not null default current_timestamp,

    constraint environments_pkey primary key (name)
);

comment on table environments is 'The places that configuration is kept for.';
comment on column environments.revision is 'How many change sets it has had; the number of the latest.';
comment on column environments.epoch is 'Changes when a backup is restored, so that nobody believes revisions went back.';
comment on column environments.protected is 'Whether deleting the environment itself is refused.';
comment on column environments.fractional is 'Which generation of flagd''s fractional buckets its flags. Never changed silently.';
comment on column environments.metadata is 'Metadata of the flag set, as flagd has it.';
