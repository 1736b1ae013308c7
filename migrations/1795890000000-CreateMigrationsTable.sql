-- The ledger: one row for each applied migration, with the text that was applied.
-- type: schema
-- phase: system
-- An integer id is enough: a ledger has as many rows as there are files.
-- squawk-ignore-file prefer-bigint-over-int, prefer-identity
create table migrations (
    id             serial      not null,
    "timestamp"    bigint      not null,
    name           varchar     not null,
    instance       varchar     not null,
    kind           text        not null,
    phase          text        not null,
    checksum       text        not null,
    state          text        not null,
    duration_ms    bigint,
    applied_at     timestamptz not null default clock_timestamp(),
    applied_by     text        not null default session_user,
    applied_text   text,
    rollback_text  text,

    constraint migrations_pkey primary key (id),
    constraint migrations_timestamp_unique unique ("timestamp"),
    constraint migrations_name_unique unique (name),
    constraint migrations_timestamp_thirteen_digits
        check ("timestamp" between 1000000000000 and 9999999999999),
    constraint migrations_kind_known check (kind in ('schema', 'data')),
    constraint migrations_phase_known
        check (phase in ('system', 'core', 'reference', 'index', 'constraint')),
    constraint migrations_state_known check (state in ('running', 'applied'))
);

comment on table migrations is 'The migrations that were applied to this database.';
comment on column migrations."timestamp" is 'The number at the start of the file name: milliseconds since 1970.';
comment on column migrations.name is 'The file name without its extension.';
comment on column migrations.instance is 'The instance of the service, or the host, that applied it.';
comment on column migrations.kind is 'The type in the header of the file.';
comment on column migrations.phase is 'The phase in the header of the file.';
comment on column migrations.checksum is 'SHA-256 of the file and its rollback, with LF line endings.';
comment on column migrations.state is 'A migration that runs without a transaction is running until it ends. It stays running after a crash.';
comment on column migrations.applied_by is 'The database role that applied it.';
comment on column migrations.applied_text is 'The file as it was applied.';
comment on column migrations.rollback_text is 'The rollback that belongs to applied_text. A rollback runs this text.';
