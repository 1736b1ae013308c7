-- The access log: authentication, refusals, reads of secrets, and administration.
-- type: schema
-- phase: core
create table access_log (
    id           bigint      not null generated always as identity,
    at           timestamptz not null default current_timestamp,
    last_at      timestamptz not null default current_timestamp,
    count        bigint      not null default 1,
    event        text        not null,
    decision     text        not null,
    actor        text        not null,
    token_id     text,
    client       text,
    request_id   text,
    method       text,
    route        text,
    environment  text collate "C",
    resource     text,
    version      bigint,
    detail       text,

    constraint access_log_pkey primary key (id),
    constraint access_log_count_positive check (count > 0),
    -- A pattern, not a list: a new event needs no migration.
    constraint access_log_event_well_formed check (event ~ '^[a-z][a-z_]{0,62}$'),
    constraint access_log_decision_known check (decision in ('allowed', 'refused')),
    -- Clients send some of these texts.
    constraint access_log_texts_bounded
        check (
            char_length(actor) <= 255
            and char_length(token_id) <= 255
            and char_length(client) <= 255
            and char_length(request_id) <= 255
            and char_length(method) <= 255
            and char_length(route) <= 255
            and char_length(environment) <= 63
            and char_length(resource) <= 255
            and char_length(detail) <= 255
        )
);

comment on table access_log is 'Authentication, refusals, reads of secrets, and administration. Append-only: only the owner can delete rows.';
comment on column access_log.count is 'Above 1 for a batch of equal refusals between at and last_at. The other columns are those of the first one.';
comment on column access_log.event is 'A name of the OWASP logging vocabulary.';
comment on column access_log.token_id is 'The id of the token that was sent, valid or not.';
comment on column access_log.route is 'The template of the URL, because a path may contain personal data.';
comment on column access_log.environment is 'The environment in the request. It may not exist.';
comment on column access_log.resource is 'The object of the event: a key, or the id of another token.';
