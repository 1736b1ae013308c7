-- Expand: proposals, which are change sets that are not applied yet, with their events and secrets.
-- type: schema
-- phase: core
create table proposals (
    id                     bigint      not null generated always as identity,
    environments           text[]      not null collate "C",
    title                  text        not null,
    message                text        not null default '',
    operations             jsonb       not null,
    version                bigint      not null default 1,
    state                  text        not null,
    author                 text        not null,
    created_at             timestamptz not null default current_timestamp,
    updated_at             timestamptz not null default current_timestamp,
    apply_at               timestamptz,
    expires_after_seconds  bigint,
    scheduled_by           text,
    reason                 text,
    required               jsonb       not null default '{}',
    applied                jsonb,

    constraint proposals_pkey primary key (id),
    constraint proposals_environments_named check (cardinality(environments) > 0),
    constraint proposals_title_bounded check (char_length(title) between 1 and 200),
    constraint proposals_message_bounded check (char_length(message) <= 1000),
    constraint proposals_operations_array check (jsonb_typeof(operations) = 'array'),
    constraint proposals_version_positive check (version > 0),
    constraint proposals_state_known
        check (
            state
            in (
                'draft', 'open', 'approved', 'scheduled', 'applied', 'failed', 'rejected',
                'withdrawn'
            )
        ),
    constraint proposals_schedule_complete
        check (
            num_nonnulls(apply_at, expires_after_seconds, scheduled_by) in (0, 3)
            and (state <> 'scheduled' or apply_at is not null)
        ),
    constraint proposals_expiry_not_negative check (expires_after_seconds >= 0),
    constraint proposals_required_object check (jsonb_typeof(required) = 'object'),
    constraint proposals_applied_complete
        check (
            (state = 'applied') = (applied is not null)
            and (applied is null or jsonb_typeof(applied) = 'object')
        )
);

comment on table proposals is 'Change sets that wait for approval, or that were decided.';
comment on column proposals.operations is 'The operations with the versions that their author saw. A secret has no value here.';
comment on column proposals.version is 'The number of edits, plus 1. An approval is of one version.';
comment on column proposals.apply_at is 'When it is applied, by the clock of this database.';
comment on column proposals.expires_after_seconds is 'How much later it may still be applied.';
comment on column proposals.reason is 'Why it was rejected, or why its scheduled application failed.';
comment on column proposals.required is 'The approvals that it needs in each environment, as of its last trial.';
comment on column proposals.applied is 'The revision of its change set in each environment.';

create table proposal_events (
    id            bigint      not null generated always as identity,
    proposal_id   bigint      not null,
    version       bigint      not null,
    event         text        not null,
    actor         text        not null,
    environments  text[]      not null collate "C",
    text          text        not null default '',
    at            timestamptz not null default current_timestamp,

    constraint proposal_events_pkey primary key (id),
    constraint proposal_events_proposal_fkey foreign key (proposal_id) references proposals (id),
    constraint proposal_events_event_known
        check (
            event
            in (
                'created', 'submitted', 'edited', 'approved', 'rejected', 'commented', 'scheduled',
                'unscheduled', 'applied', 'failed', 'withdrawn'
            )
        ),
    constraint proposal_events_version_positive check (version > 0),
    constraint proposal_events_environments_named check (cardinality(environments) > 0),
    constraint proposal_events_text_bounded check (char_length(text) <= 2000)
);

comment on table proposal_events is 'Who did what to a proposal, and when. Append-only.';
comment on column proposal_events.version is 'The version of the proposal that the actor saw.';
comment on column proposal_events.environments is 'The environments of the proposal that the event concerns.';

create table proposal_secrets (
    proposal_id  bigint not null,
    environment  text   not null collate "C",
    key          text   not null collate "C",
    version      bigint not null,
    sealed       bytea  not null,

    constraint proposal_secrets_pkey primary key (proposal_id, environment, key),
    constraint proposal_secrets_proposal_fkey foreign key (proposal_id) references proposals (id),
    constraint proposal_secrets_version_positive check (version > 0)
);

comment on table proposal_secrets is 'The values of secrets in proposals that may still be applied or edited. Sealed as those of entries.';
comment on column proposal_secrets.version is 'The version of the proposal that it was sealed for.';

-- The tables are empty, so their indexes take no time and block no writer.
-- squawk-ignore require-concurrent-index-creation
create index proposals_due_index on proposals (apply_at)
    where state = 'scheduled';

-- squawk-ignore require-concurrent-index-creation
create index proposals_undecided_index on proposals (id)
    where state in ('draft', 'open', 'approved', 'scheduled');

-- squawk-ignore require-concurrent-index-creation
create index proposal_events_proposal_index on proposal_events (proposal_id, id);
