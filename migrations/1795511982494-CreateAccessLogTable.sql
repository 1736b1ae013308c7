-- Expand: who was let in, who was refused, which secrets were read and what was administered.
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
    constraint access_log_decision_known check (decision in ('allowed', 'refused')),
    -- A pattern and no list: another word of the vocabulary is no reason for a migration.
    constraint access_log_event_well_formed check (event ~ '^[a-z][a-z_]{0,62}$'),
    -- No row is large, whoever sent what is in it.
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

-- The table is empty when they are made, so nothing waits for them. They serve the pages of one
-- event, those of one environment, and the trimming of what is old.
-- squawk-ignore require-concurrent-index-creation
create index access_log_event_index on access_log (event, id);
-- squawk-ignore require-concurrent-index-creation
create index access_log_environment_index on access_log (environment, id);
-- squawk-ignore require-concurrent-index-creation
create index access_log_at_index on access_log (at);

comment on table access_log is 'Authentication, refusals, secret reads and administration. Append-only; the owner alone can trim it.';
comment on column access_log.count is 'Above 1 where equal refusals were gathered, from at to last_at; the rest is of the first of them.';
comment on column access_log.event is 'In the words of the OWASP logging vocabulary.';
comment on column access_log.token_id is 'Of the token that was shown, good or not.';
comment on column access_log.route is 'The template: a path may hold more than a log should keep.';
comment on column access_log.environment is 'As the request names it; it need not exist.';
comment on column access_log.resource is 'What it was about: a key, or the id of another token.';
