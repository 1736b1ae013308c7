-- Expand: the evaluations of each hour, so that people see how the variants of a flag move.
-- type: schema
-- phase: core
-- squawk-ignore-file require-concurrent-index-creation
create table flag_usage_hours (
    environment  text         not null collate "C",
    key          text         not null collate "C",
    hour         timestamptz  not null,
    variant      text         not null,
    count        bigint       not null,

    constraint flag_usage_hours_pkey primary key (environment, key, hour, variant),
    constraint flag_usage_hours_environment_fkey foreign key (environment) references environments (name),
    constraint flag_usage_hours_count_positive check (count > 0)
);

-- Old hours are deleted every hour.
create index flag_usage_hours_hour_index on flag_usage_hours (hour);

comment on table flag_usage_hours is 'Evaluations of flags by hour and variant, for a week. An evaluation counts in the hour in which its count is flushed, up to a minute later.';
comment on column flag_usage_hours.variant is 'Empty for an outcome without a variant.';
