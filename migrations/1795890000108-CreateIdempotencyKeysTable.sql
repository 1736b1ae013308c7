-- Responses to writes with an Idempotency-Key, stored for a day. A retry gets the same response.
-- type: schema
-- phase: core
create table idempotency_keys (
    actor       text        not null,
    key         text        not null,
    request     bytea       not null,
    answer      bytea,
    created_at  timestamptz not null default current_timestamp,

    constraint idempotency_keys_pkey primary key (actor, key),
    constraint idempotency_keys_key_well_formed check (key ~ '^[!-~]{1,200}$'),
    constraint idempotency_keys_request_length check (octet_length(request) = 32)
);

comment on table idempotency_keys is 'Writes that can be retried safely, with their responses.';
comment on column idempotency_keys.request is 'SHA-256 of method, path, conditions and body. A retry must be the same request.';
comment on column idempotency_keys.answer is 'The response. Null only within the transaction that claims the key.';
