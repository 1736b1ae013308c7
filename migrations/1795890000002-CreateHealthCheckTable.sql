-- Heartbeats: each instance proves every few seconds that it can write.
-- type: schema
-- phase: system
-- The types of id and status are part of the requirements.
-- squawk-ignore-file prefer-bigint-over-int, prefer-identity, prefer-text-field
create table health_check (
    id          serial      not null,
    status      varchar(20) not null default 'ok',
    checked_at  timestamptz not null default current_timestamp,
    instance    text        not null default '',
    latency_ms  double precision,

    constraint health_check_pkey primary key (id),
    -- The cast is how PostgreSQL prints it. So a restored dump has the same fingerprint.
    constraint health_check_status_known check (status::text in ('ok', 'fail'))
)
-- Each new row deletes an old one, so vacuum more often than by default.
with (autovacuum_vacuum_scale_factor = 0.05);

-- 1,000 instances use 2^31 ids in about a year. Rows are deleted after hours, so ids can start again.
alter sequence health_check_id_seq cycle;

comment on table health_check is 'Heartbeats of the last hours. Every instance adds rows and deletes old ones.';
comment on column health_check.status is 'ok: written in time. fail: missed, and added when the database was available again.';
comment on column health_check.latency_ms is 'The duration of the write and its commit. Null for a missed heartbeat, or if the instance ended before it was known.';
