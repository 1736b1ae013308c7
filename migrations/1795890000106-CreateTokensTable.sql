-- Tokens: the credentials of callers. The secret part is not stored.
-- type: schema
-- phase: core
create table tokens (
    id            text        not null collate "C",
    name          text        not null,
    mac           bytea       not null,
    grant_mac     bytea,
    scopes        text[]      not null,
    environments  text[]      not null,
    lapsed        text[]      not null default '{}',
    created_by    text        not null,
    created_at    timestamptz not null default current_timestamp,
    expires_at    timestamptz,
    retires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,
    replaced_by   text collate "C",

    constraint tokens_pkey primary key (id),
    constraint tokens_id_well_formed check (id ~ '^[0-9A-Za-z]{13}$'),
    constraint tokens_mac_length check (octet_length(mac) = 32),
    constraint tokens_grant_mac_length check (octet_length(grant_mac) = 32),
    constraint tokens_scopes_flat check (array_ndims(scopes) = 1),
    constraint tokens_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin']
        ),
    constraint tokens_environments_given
        check (
            cardinality(environments) > 0
            and array_position(environments, null) is null
            and array_position(environments, '') is null
        ),
    constraint tokens_lapsed_within_environments check (lapsed <@ environments),
    constraint tokens_retired_when_replaced
        check ((replaced_by is null) = (retires_at is null)),
    -- Every instance reads all rows. Python cannot represent times outside of this range.
    constraint tokens_times_bounded
        check (
            least(created_at, expires_at, retires_at, revoked_at, last_used_at)
                >= timestamptz '1970-01-01 00:00:00Z'
            and greatest(created_at, expires_at, retires_at, revoked_at, last_used_at)
                < timestamptz '9999-01-01 00:00:00Z'
        )
);

comment on table tokens is 'The tokens of callers. A row counts only if its MACs are valid.';
comment on column tokens.id is 'The middle part of the token. It may be shown and logged.';
comment on column tokens.mac is 'HMAC-SHA-256 of the token and its grant. The key is not in the database, so write access alone cannot create or promote a token. Zeros once it is revoked, so that this cannot be undone.';
comment on column tokens.grant_mac is 'HMAC-SHA-256 of the id, the grant and the time of creation, under the same key. It proves the row without the token. Null once it is revoked or replaced.';
comment on column tokens.environments is 'Names, or one * for all environments, including future ones.';
comment on column tokens.lapsed is 'Environments of the token that were deleted since, in the order of their deletion. A later environment of the same name is a different one. The MACs cover it.';
comment on column tokens.retires_at is 'When a replaced token ends, unless it expires earlier. The MAC covers it.';
comment on column tokens.last_used_at is 'Written at most once a minute, so up to two minutes old.';
comment on column tokens.replaced_by is 'The id of the token that a rotation created.';
