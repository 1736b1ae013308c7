-- Expand: a token that is replaced by another goes on for a while, and has an end of its own then.
-- type: schema
-- phase: core
-- Checking looks at each row once, and an installation has few tokens.
-- squawk-ignore-file constraint-missing-not-valid
alter table tokens
    add column retires_at timestamptz,
    add column grant_mac bytea,
    add constraint tokens_retired_when_replaced
        check ((replaced_by is null) = (retires_at is null)),
    add constraint tokens_grant_mac_length check (octet_length(grant_mac) = 32);

comment on column tokens.retires_at is 'When a replaced token ends, if not before by its expiry. Its MAC was sealed anew with this, so the row is worthless without it.';
comment on column tokens.grant_mac is 'HMAC-SHA-256, under the same key, of the id and of what the token may do: it tells that a row is as it was written when the token itself is not at hand. Null for those that are older.';
comment on column tokens.mac is 'HMAC-SHA-256, under a key that is not in the database, of the token and of what it may do; so a row cannot be made or promoted with write access alone. Zeros once it is revoked, so that nobody can take that back.';
comment on column tokens.last_used_at is 'Written at most once a minute, so right to two.';
