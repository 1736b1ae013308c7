-- Answers to writes that carried an Idempotency-Key, kept for a day so that a repetition gets them again.
-- type: schema
-- phase: core
create table idempotency_keys (
    actor       text        not null,
    key         text        not null,
    request     bytea       not null,
    answer      bytea,
    created_at  timestamptz not null default current_timestamp,

    constraint idempotency_keys_pkey primary key (actor, key)
);

comment on table idempotency_keys is 'Writes that may be repeated safely, and what they answered.';
comment on column idempotency_keys.request is 'SHA-256 of method, path, conditions and body: the same key must mean the same request.';
comment on column idempotency_keys.answer is 'Null only inside the transaction that claims the key.';
