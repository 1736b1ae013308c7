-- Tokens: who may call. The secret itself is nowhere in here.
-- type: schema
-- phase: core
create table tokens (
    id            text        not null collate "C",
    name          text        not null,
    mac           bytea       not null,
    scopes        text[]      not null,
    environments  text[]      not null,
    created_by    text        not null,
    created_at    timestamptz not null default current_timestamp,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,
    replaced_by   text collate "C",

    constraint tokens_pkey primary key (id)
);

comment on table tokens is 'What callers show. A row counts only while its MAC holds.';
comment on column tokens.id is 'The middle part of the token, safe to show and to log.';
comment on column tokens.mac is 'HMAC-SHA-256, under a key that is not in the database, of the token and of what it may do; so a row cannot be made or promoted with write access alone.';
comment on column tokens.environments is 'Names, or one * for all, those to come included.';
