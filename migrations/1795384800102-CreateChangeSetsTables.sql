-- History: one change set a revision, and what it did to each key.
-- type: schema
-- phase: core
create table change_sets (
    environment  text        not null collate "C",
    revision     bigint      not null,
    kind         text        not null,
    actor        text        not null,
    message      text        not null default '',
    created_at   timestamptz not null default current_timestamp,

    constraint change_sets_pkey primary key (environment, revision)
);

create table changes (
    environment         text    not null collate "C",
    revision            bigint  not null,
    key                 text    not null collate "C",
    before_kind         text,
    before_value        jsonb,
    before_sealed       bytea,
    before_schema       jsonb,
    before_description  text,
    before_version      bigint,
    after_kind          text,
    after_value         jsonb,
    after_sealed        bytea,
    after_schema        jsonb,
    after_description   text,
    after_version       bigint,

    constraint changes_pkey primary key (environment, revision, key)
);

comment on table change_sets is 'Who changed what and why, one row a revision. Append-only.';
comment on table changes is 'Each key that a change set touched, before and after. Append-only.';
comment on column changes.before_version is 'Null when the change set made the key.';
comment on column changes.after_version is 'Null when the change set deleted the key.';
