alter table tokens
    drop constraint tokens_grant_mac_length,
    drop constraint tokens_retired_when_replaced,
    drop column grant_mac,
    drop column retires_at;

comment on column tokens.last_used_at is null;
comment on column tokens.mac is 'HMAC-SHA-256, under a key that is not in the database, of the token and of what it may do; so a row cannot be made or promoted with write access alone.';
