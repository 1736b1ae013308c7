-- Expand: what sessions need from the OpenID Connect provider that began them, and what counted once.
-- type: schema
-- phase: core
create table oidc_sessions (
    session_id  text        not null collate "C",
    issuer      text        not null collate "C",
    subject     text        not null collate "C",
    sid         text        collate "C",
    sealed      bytea       not null,
    refresh_at  timestamptz,
    created_at  timestamptz not null default current_timestamp,

    constraint oidc_sessions_pkey primary key (session_id),
    constraint oidc_sessions_session_id_fkey
        foreign key (session_id) references sessions (id) on delete cascade,
    constraint oidc_sessions_texts_bounded
        check (
            least(char_length(issuer), char_length(subject), char_length(sid)) >= 1
            and greatest(char_length(issuer), char_length(subject), char_length(sid)) <= 255
        ),
    -- A nonce and a tag have 28 bytes.
    constraint oidc_sessions_sealed_bounded check (octet_length(sealed) >= 28 and octet_length(sealed) <= 1048576)
);

comment on table oidc_sessions is 'What a session needs from its OpenID Connect provider. The service deletes the row when the session has ended.';
comment on column oidc_sessions.sid is 'The session at the provider, which a back-channel logout names.';
comment on column oidc_sessions.sealed is 'The refresh token, and the hint for the logout. The key is derived from TOKEN_KEY, and the id of the session is authenticated.';
comment on column oidc_sessions.refresh_at is 'When the claims are refreshed next, by the instance that sets it to a later time first. Null without a refresh token.';

create table oidc_uses (
    id          text        not null collate "C",
    expires_at  timestamptz not null,

    constraint oidc_uses_pkey primary key (id),
    constraint oidc_uses_id_well_formed check (id ~ '^[0-9a-f]{64}$')
);

comment on table oidc_uses is 'Digests of sign-ins and logout tokens that were used, so that each counts once on all instances together.';
