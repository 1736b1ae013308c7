-- Expand: the scope relay, and the MAC of a token that relays check. Earlier releases ignore both.
-- type: schema
-- phase: core
-- The table has a row for each token, so a scan is short; and the new constraint allows more.
-- squawk-ignore-file constraint-missing-not-valid, ban-drop-constraint
alter table tokens
    add column relay_mac bytea,
    add constraint tokens_relay_mac_length check (octet_length(relay_mac) = 32),
    drop constraint tokens_scopes_known,
    add constraint tokens_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin', 'relay']
        );

comment on column tokens.relay_mac is 'As mac, under a key that relays have. The service does not accept it. Null for a token of an earlier release that was not used since, and once it is revoked.';
