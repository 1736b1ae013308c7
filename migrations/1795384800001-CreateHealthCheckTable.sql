-- The periodic write probe: each instance proves every few seconds that it can write.
-- type: schema
-- phase: system
-- id and status are what every Flagstone has; see below for what happens after 2^31 rows.
-- squawk-ignore-file prefer-bigint-over-int, prefer-identity, prefer-text-field
create table health_check (
    id          serial      not null,
    status      varchar(20) not null default 'ok',
    checked_at  timestamptz not null default current_timestamp,
    instance    text        not null default '',
    latency_ms  double precision,

    constraint health_check_pkey primary key (id)
)
-- One old row is trimmed for each new one, so vacuum should not wait for a fifth of the table.
with (autovacuum_vacuum_scale_factor = 0.05);

-- A thousand instances use up 2^31 ids in a year, and rows live for hours: going round is safe.
alter sequence health_check_id_seq cycle;

comment on table health_check is 'Heartbeats of the last hours, written and trimmed by every instance.';
comment on column health_check.status is 'ok: written in time. fail: missed, and written down once the database was back.';
comment on column health_check.latency_ms is 'What this write took, commit included; null for a missed one, or when the instance died in between.';
