-- Expand: the sessions of people who are signed in to the console. The secret part is not stored.
-- type: schema
-- phase: core
create table sessions (
    id            text        not null collate "C",
    mac           bytea       not null,
    actor         text        not null,
    name          text        not null,
    token_id      text        collate "C",
    scopes        text[]      not null,
    environments  text[]      not null,
    created_at    timestamptz not null default current_timestamp,
    last_seen_at  timestamptz not null default current_timestamp,
    expires_at    timestamptz not null,
    revoked_at    timestamptz,
    user_agent    text        not null default '',
    network       text        not null default '',

    constraint sessions_pkey primary key (id),
    constraint sessions_token_id_fkey foreign key (token_id) references tokens (id),
    constraint sessions_id_well_formed check (id ~ '^[0-9A-Za-z]{13}$'),
    constraint sessions_mac_length check (octet_length(mac) = 32),
    constraint sessions_scopes_flat check (array_ndims(scopes) = 1),
    constraint sessions_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin']
        ),
    constraint sessions_environments_given
        check (
            cardinality(environments) > 0
            and array_position(environments, null) is null
            and array_position(environments, '') is null
        ),
    -- A browser sends its user agent.
    constraint sessions_texts_bounded
        check (
            char_length(actor) <= 255
            and char_length(name) <= 255
            and char_length(user_agent) <= 255
            and char_length(network) <= 255
        ),
    -- Every instance reads all rows. Python cannot represent times outside of this range.
    constraint sessions_times_bounded
        check (
            least(created_at, last_seen_at, expires_at, revoked_at)
                >= timestamptz '1970-01-01 00:00:00Z'
            and greatest(created_at, last_seen_at, expires_at, revoked_at)
                < timestamptz '9999-01-01 00:00:00Z'
        )
);

comment on table sessions is 'Who is signed in to the console. A row counts only if its MAC is valid.';
comment on column sessions.id is 'The first part of the cookie. It may be shown and logged.';
comment on column sessions.mac is 'HMAC-SHA-256 of the cookie and of the columns that grant something. The key is not in the database, so write access alone cannot create or promote a session. Zeros once it is revoked, so that this cannot be undone.';
comment on column sessions.actor is 'The author of what the session changes: token:ID, or operator:NAME.';
comment on column sessions.token_id is 'The token that signed in. The session ends with it. Null after a one-time link.';
comment on column sessions.last_seen_at is 'Written at most once in 5 minutes. Not covered by the MAC: it can only shorten the time until expires_at.';
comment on column sessions.network is 'The network of the client, not its whole address.';
