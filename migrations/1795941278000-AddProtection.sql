-- Expand: the protection of an environment, what allowed a write there, and the scope publish.
-- Earlier releases write without approval.
-- type: schema
-- phase: core
-- The constraints hold for every row: the columns are new, and the scopes allow more. The tables of
-- credentials and environments are short.
-- squawk-ignore-file constraint-missing-not-valid, ban-drop-constraint
alter table environments
    add column protection jsonb,
    add constraint environments_protection_object check (jsonb_typeof(protection) = 'object');

alter table property_changes
    add column before_protection jsonb,
    add column after_protection jsonb,
    add constraint property_changes_protection_objects
        check (
            jsonb_typeof(before_protection) = 'object' and jsonb_typeof(after_protection) = 'object'
        ) not valid;

alter table change_sets
    add column approval jsonb,
    add constraint change_sets_approval_object check (jsonb_typeof(approval) = 'object') not valid;

alter table tokens
    drop constraint tokens_scopes_known,
    add constraint tokens_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes
                <@ array ['evaluate', 'read', 'write', 'reveal', 'admin', 'relay', 'publish']
        );

alter table sessions
    drop constraint sessions_scopes_known,
    add constraint sessions_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin', 'publish']
        );

alter table sign_in_codes
    drop constraint sign_in_codes_scopes_known,
    add constraint sign_in_codes_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin', 'publish']
        );

comment on column environments.version is 'The number of changes of metadata, fractional, protected and protection, plus 1.';
comment on column environments.protection is 'The approvals that a write needs. Null: none.';
comment on column change_sets.approval is 'The proposal and its approvers, or an emergency. The hash covers it. Null for a write that needed no approval.';
