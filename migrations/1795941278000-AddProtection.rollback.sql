-- The hashes of the history cover protections and approvals: without them it could not be verified.
-- So the rollback is refused if there are any.
alter table property_changes
    add constraint property_changes_without_protection
        check (before_protection is null and after_protection is null);

alter table change_sets
    add constraint change_sets_without_approval check (approval is null);

alter table property_changes
    drop column before_protection,
    drop column after_protection;

alter table change_sets
    drop column approval;

alter table environments
    drop column protection;

comment on column environments.version is 'The number of changes of metadata, fractional and protected, plus 1.';

-- The earlier constraints refuse the scope publish. A revoked token needs no scope of its own.
update tokens
set
    revoked_at = coalesce(revoked_at, current_timestamp),
    mac = decode(repeat('00', 32), 'hex'),
    grant_mac = null,
    relay_mac = null,
    scopes = array ['read']
where 'publish' = any(scopes);

delete from sessions
where 'publish' = any(scopes);

delete from sign_in_codes
where 'publish' = any(scopes);

alter table tokens
    drop constraint tokens_scopes_known,
    add constraint tokens_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin', 'relay']
        );

alter table sessions
    drop constraint sessions_scopes_known,
    add constraint sessions_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin']
        );

alter table sign_in_codes
    drop constraint sign_in_codes_scopes_known,
    add constraint sign_in_codes_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin']
        );
