-- The ledger of schema changes: which ran, when, where, and from which text.
-- type: schema
-- phase: system
-- id is what every Flagstone has; a ledger does not grow to 2^31 rows.
-- squawk-ignore-file prefer-bigint-over-int, prefer-identity
create table migrations (
    id           serial      not null,
    "timestamp"  bigint      not null,
    name         varchar     not null,
    instance     varchar     not null,
    kind         text        not null,
    phase        text        not null,
    checksum     text        not null,
    state        text        not null,
    duration_ms  bigint,
    applied_at   timestamptz not null default clock_timestamp(),
    applied_by   text        not null default session_user,

    constraint migrations_pkey primary key (id),
    constraint migrations_timestamp_unique unique ("timestamp"),
    constraint migrations_name_unique unique (name),
    constraint migrations_kind_known check (kind in ('schema', 'data')),
    constraint migrations_phase_known
        check (phase in ('system', 'core', 'reference', 'index', 'constraint')),
    constraint migrations_state_known check (state in ('running', 'applied')),
    constraint migrations_timestamp_thirteen_digits
        check ("timestamp" between 1000000000000 and 9999999999999)
);

comment on table migrations is 'Schema changes that were made here, one row a file of migrations/.';
comment on column migrations."timestamp" is 'The thirteen digits that the file''s name begins with: epoch milliseconds.';
comment on column migrations.instance is 'Which instance of the service, or which machine, ran it.';
comment on column migrations.checksum is 'SHA-256 of the file and its rollback, with line ends as LF.';
comment on column migrations.state is 'running is seen only while, or after a crash in, a file that no transaction can hold.';
