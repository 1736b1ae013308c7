-- Expand: the steps of plans, so that each one that begins is in the history once.
-- type: schema
-- phase: core
-- squawk-ignore-file require-concurrent-index-creation
create table plan_steps (
    environment  text         not null collate "C",
    key          text         not null collate "C",
    step         bigint       not null,
    begins_at    timestamptz  not null,
    revision     bigint,

    constraint plan_steps_pkey primary key (environment, key, step),
    constraint plan_steps_environment_fkey foreign key (environment) references environments (name),
    constraint plan_steps_step_positive check (step > 0)
);

-- The next steps to record, over all environments.
create index plan_steps_unrecorded_index on plan_steps (begins_at) where revision is null;

comment on table plan_steps is 'The steps of the plans in current flags whose begin is known. Evaluation does not read it.';
comment on column plan_steps.step is 'Counts from 1.';
comment on column plan_steps.revision is 'The change set that says that the step began, or that stored it after its begin. Null before.';
