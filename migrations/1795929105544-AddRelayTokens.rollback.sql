-- The earlier constraint refuses the scope relay. A revoked token needs no scope of its own.
update tokens
set
    revoked_at = coalesce(revoked_at, current_timestamp),
    mac = decode(repeat('00', 32), 'hex'),
    grant_mac = null,
    scopes = array ['read']
where 'relay' = any(scopes);

alter table tokens
    drop constraint tokens_scopes_known,
    add constraint tokens_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin']
        ),
    drop constraint tokens_relay_mac_length,
    drop column relay_mac;
