-- How often each flag is evaluated, by outcome. It shows which flags are no longer used.
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
    constraint flag_usage_count_positive check (count > 0)
);

comment on table flag_usage is 'Evaluations of flags by outcome. Every instance adds its counts about once a minute.';
comment on column flag_usage.reason is 'OFREP''s reason, or its error code for a failed evaluation.';
comment on column flag_usage.variant is 'Empty if the outcome has no variant.';
