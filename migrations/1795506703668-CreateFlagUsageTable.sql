-- Expand: how often flags are evaluated, and with which outcome, so that those nobody needs can be found.
-- type: schema
-- phase: core
create table flag_usage (
    environment        text        not null collate "C",
    key                text        not null collate "C",
    reason             text        not null,
    variant            text        not null,
    count              bigint      not null,
    last_evaluated_at  timestamptz not null,

    constraint flag_usage_pkey primary key (environment, key, reason, variant),
    constraint flag_usage_environment_fkey
        foreign key (environment) references environments (name),
    constraint flag_usage_count_positive check (count > 0)
);

comment on table flag_usage is 'Evaluations by outcome, added up by every instance about once a minute.';
comment on column flag_usage.reason is 'OFREP''s reason, or its error code for one that failed.';
comment on column flag_usage.variant is 'Empty when the outcome has none.';
