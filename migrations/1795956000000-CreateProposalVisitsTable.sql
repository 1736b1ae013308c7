-- Expand: the last event of a proposal that each of its authors has seen, for the inbox.
-- type: schema
-- phase: core
create table proposal_visits (
    actor        text   not null,
    proposal_id  bigint not null,
    event_id     bigint not null,

    constraint proposal_visits_pkey primary key (actor, proposal_id),
    constraint proposal_visits_proposal_fkey foreign key (proposal_id) references proposals (id)
);

comment on table proposal_visits is 'The events of their own proposals that people have seen.';
comment on column proposal_visits.event_id is 'The last event of the proposal that the actor has seen.';
