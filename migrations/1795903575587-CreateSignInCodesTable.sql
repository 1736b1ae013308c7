-- Expand: the codes of one-time links that sign in to the console. The secret part is not stored.
-- type: schema
-- phase: core
create table sign_in_codes (
    id            text        not null collate "C",
    mac           bytea       not null,
    actor         text        not null,
    name          text        not null,
    scopes        text[]      not null,
    environments  text[]      not null,
    created_at    timestamptz not null default current_timestamp,
    expires_at    timestamptz not null,
    used_at       timestamptz,

    constraint sign_in_codes_pkey primary key (id),
    constraint sign_in_codes_id_well_formed check (id ~ '^[0-9A-Za-z]{13}$'),
    constraint sign_in_codes_mac_length check (octet_length(mac) = 32),
    constraint sign_in_codes_scopes_flat check (array_ndims(scopes) = 1),
    constraint sign_in_codes_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin']
        ),
    constraint sign_in_codes_environments_given
        check (
            cardinality(environments) > 0
            and array_position(environments, null) is null
            and array_position(environments, '') is null
        )
);

comment on table sign_in_codes is 'One-time links that sign in to the console. A row counts only if its MAC is valid.';
comment on column sign_in_codes.mac is 'HMAC-SHA-256 of the code and of the columns that grant something. The key is not in the database, so write access alone cannot create a link.';
comment on column sign_in_codes.actor is 'The operator who made the link. The session has the same actor.';
comment on column sign_in_codes.used_at is 'Set by the first use. The row is locked then, so that a second one waits and is refused.';
