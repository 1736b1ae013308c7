-- Expand: the keys of a proposal that need approvals, the keys of each approval, and the rights of
-- who got a stored answer. Earlier releases approve for all keys.
-- type: schema
-- phase: core
-- The columns are new, so the constraints hold for every row; the tables are short.
-- squawk-ignore-file constraint-missing-not-valid
alter table proposals
    add column covered jsonb not null default '{}',
    add constraint proposals_covered_object check (jsonb_typeof(covered) = 'object');

alter table proposal_events
    add column approved_keys jsonb,
    add constraint proposal_events_approved_keys_object
        check (jsonb_typeof(approved_keys) = 'object');

alter table idempotency_keys
    add column rights bytea,
    add constraint idempotency_keys_rights_length check (octet_length(rights) = 32);

comment on column proposals.covered is 'The keys that need approvals in each environment, as of its last trial. Empty in those of earlier releases: all keys.';
comment on column proposal_events.approved_keys is 'The prefixes of the keys that an approval is for, in each environment. Null in those of earlier releases: all keys.';
comment on column idempotency_keys.rights is 'SHA-256 of the rights of the caller. Others get no stored response. Null for those of earlier releases.';
