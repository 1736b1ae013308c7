-- Expand: what each run of the migrator left behind, so that what somebody else changes is seen.
-- type: schema
-- phase: system
create table schema_fingerprints (
    id             bigint      not null generated always as identity,
    at             timestamptz not null default clock_timestamp(),
    action         text        not null,
    migration      text        not null,
    instance       text        not null,
    session_role   text        not null default session_user,
    server_version bigint      not null,
    fingerprint    bytea       not null,
    facts          text[]      not null,
    drifted        text[]      not null default '{}',
    recording      boolean     not null,
    message        text,

    constraint schema_fingerprints_pkey primary key (id),
    constraint schema_fingerprints_action_known check (action in ('migrated', 'recording', 'accepted')),
    constraint schema_fingerprints_fingerprint_whole check (octet_length(fingerprint) = 32),
    constraint schema_fingerprints_message_bounded check (char_length(message) <= 255)
);

comment on table schema_fingerprints is 'What the schema is expected to be: the last row. Written by the migrator, and never changed.';
comment on column schema_fingerprints.action is 'migrated: applied or rolled back; recording: the server''s own record has begun; accepted: by an operator, who says why.';
comment on column schema_fingerprints.migration is 'The latest that was applied then.';
comment on column schema_fingerprints.fingerprint is 'SHA-256 of the facts.';
comment on column schema_fingerprints.facts is 'The schema, one line a fact.';
comment on column schema_fingerprints.drifted is 'What differed from the row before when this run began: changes that no migration made.';
comment on column schema_fingerprints.recording is 'Whether the server recorded changes of the schema then.';
