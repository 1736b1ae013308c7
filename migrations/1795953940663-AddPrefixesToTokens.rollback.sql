-- The earlier release knows neither the prefixes nor the new scopes. A revoked token needs no scope of
-- its own.
update tokens
set
    revoked_at = coalesce(revoked_at, current_timestamp),
    mac = decode(repeat('00', 32), 'hex'),
    grant_mac = null,
    relay_mac = null,
    scopes = array ['read']
where scopes && array ['propose', 'approve']
   or prefixes <> '{""}';

delete from sign_in_codes
where scopes && array ['propose', 'approve']
   or prefixes <> '{""}';

delete from sessions
where scopes && array ['propose', 'approve']
   or prefixes <> '{""}';

alter table tokens
    drop constraint tokens_prefixes_well_formed,
    drop column prefixes,
    drop constraint tokens_scopes_known,
    add constraint tokens_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes
                <@ array ['evaluate', 'read', 'write', 'reveal', 'admin', 'relay', 'publish']
        );

alter table sign_in_codes
    drop constraint sign_in_codes_prefixes_well_formed,
    drop column prefixes,
    drop constraint sign_in_codes_scopes_known,
    add constraint sign_in_codes_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin', 'publish']
        );

alter table sessions
    drop constraint sessions_prefixes_well_formed,
    drop column prefixes;
