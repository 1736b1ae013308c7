-- The history of each environment: one change set per revision.
-- type: schema
-- phase: core
create table change_sets (
    environment  text        not null collate "C",
    revision     bigint      not null,
    kind         text        not null,
    actor        text        not null,
    message      text        not null default '',
    created_at   timestamptz not null default current_timestamp,
    hash         bytea,

    constraint change_sets_pkey primary key (environment, revision),
    constraint change_sets_revision_positive check (revision > 0),
    constraint change_sets_kind_known
        check (kind in ('edit', 'revert', 'restore', 'promote', 'import', 'scheduled', 'delete')),
    constraint change_sets_hash_length check (octet_length(hash) = 32)
);

comment on table change_sets is 'Who changed an environment, when and why. Append-only.';
comment on column change_sets.actor is 'A token, an operator at the command line, or the system.';
comment on column change_sets.hash is 'SHA-256 of the hash before and of the content of this change set. So no past change can be altered unnoticed.';
