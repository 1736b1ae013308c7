alter table tokens
    drop constraint tokens_scopes_flat,
    drop constraint tokens_times_bounded;

comment on column tokens.grant_mac is 'HMAC-SHA-256, under the same key, of the id and of what the token may do: it tells that a row is as it was written when the token itself is not at hand. Null for those that are older.';
