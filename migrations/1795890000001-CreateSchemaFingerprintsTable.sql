-- The expected schema after each run of the migrator. A check compares it with the actual schema.
-- type: schema
-- phase: system
create table schema_fingerprints (
    id              bigint      not null generated always as identity,
    at              timestamptz not null default clock_timestamp(),
    action          text        not null,
    migration       text        not null,
    instance        text        not null,
    session_role    text        not null default session_user,
    server_version  bigint      not null,
    fingerprint     bytea       not null,
    facts           text[]      not null,
    drifted         text[]      not null default '{}',
    recording       boolean     not null,
    message         text,

    constraint schema_fingerprints_pkey primary key (id),
    constraint schema_fingerprints_action_known
        check (action in ('migrated', 'recording', 'accepted')),
    constraint schema_fingerprints_fingerprint_whole check (octet_length(fingerprint) = 32),
    constraint schema_fingerprints_message_bounded check (char_length(message) <= 255)
);

comment on table schema_fingerprints is 'The expected schema. The last row is in force. Append-only.';
comment on column schema_fingerprints.action is 'migrated: the migrator ran. recording: the server began to record schema changes. accepted: an operator accepted the schema.';
comment on column schema_fingerprints.migration is 'The latest applied migration at that time.';
comment on column schema_fingerprints.instance is 'The instance of the service, or the host, that stored the row.';
comment on column schema_fingerprints.server_version is 'The major version of PostgreSQL.';
comment on column schema_fingerprints.fingerprint is 'SHA-256 of the facts.';
comment on column schema_fingerprints.facts is 'A description of the schema, one fact per line.';
comment on column schema_fingerprints.drifted is 'Differences from the row before, found at the start of the run. No migration made them.';
comment on column schema_fingerprints.recording is 'Whether the server recorded schema changes at that time.';
comment on column schema_fingerprints.message is 'Why an operator accepted the schema.';
