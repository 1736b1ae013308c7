-- Expand: no row can be written that cannot be read, since every instance reads all of them at once.
-- type: schema
-- phase: core
-- Checking looks at each row once, and an installation has few tokens.
-- squawk-ignore-file constraint-missing-not-valid
alter table tokens
    add constraint tokens_scopes_flat check (array_ndims(scopes) = 1),
    add constraint tokens_times_bounded
        check (
            least(created_at, expires_at, retires_at, revoked_at, last_used_at)
                >= timestamptz '1970-01-01 00:00:00Z'
            and greatest(created_at, expires_at, retires_at, revoked_at, last_used_at)
                < timestamptz '9999-01-01 00:00:00Z'
        );

comment on column tokens.grant_mac is 'HMAC-SHA-256, under the same key, of the id, of what the token may do and of when it was made: it tells that a row is as it was written when the token itself is not at hand. Null once it is revoked or replaced, and for those that are older.';
