-- The history of each key: its content before and after each change set.
-- type: schema
-- phase: core
create table changes (
    environment         text   not null collate "C",
    revision            bigint not null,
    key                 text   not null collate "C",
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

    constraint changes_pkey primary key (environment, revision, key),
    constraint changes_key_well_formed
        check (key ~ '^[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}$'),
    constraint changes_something_changed
        check (before_version is not null or after_version is not null),
    constraint changes_before_complete
        check (
            (before_version is null) = (before_kind is null)
            and (
                before_version is not null
                or num_nonnulls(before_value, before_sealed, before_schema, before_description) = 0
            )
        ),
    constraint changes_after_complete
        check (
            (after_version is null) = (after_kind is null)
            and (
                after_version is not null
                or num_nonnulls(after_value, after_sealed, after_schema, after_description) = 0
            )
        ),
    -- As in configurations, a secret has no clear value.
    constraint changes_before_secret_sealed
        check (
            (before_sealed is not null) = (before_kind is not distinct from 'secret')
            and (before_sealed is null or before_value is null)
        ),
    constraint changes_after_secret_sealed
        check (
            (after_sealed is not null) = (after_kind is not distinct from 'secret')
            and (after_sealed is null or after_value is null)
        )
);

comment on table changes is 'Each key of a change set, with its content before and after. Append-only.';
comment on column changes.before_version is 'Null if the change set created the key.';
comment on column changes.after_version is 'Null if the change set deleted the key.';
