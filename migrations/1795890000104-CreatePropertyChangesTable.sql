-- The history of an environment's properties: metadata, bucketing generation and protection.
-- type: schema
-- phase: core
create table property_changes (
    environment        text    not null collate "C",
    revision           bigint  not null,
    version            bigint  not null,
    before_metadata    jsonb   not null,
    before_fractional  text    not null,
    before_protected   boolean not null,
    after_metadata     jsonb   not null,
    after_fractional   text    not null,
    after_protected    boolean not null,

    constraint property_changes_pkey primary key (environment, revision),
    constraint property_changes_version_counts check (version > 1),
    constraint property_changes_metadata_objects
        check (jsonb_typeof(before_metadata) = 'object' and jsonb_typeof(after_metadata) = 'object'),
    constraint property_changes_fractional_known
        check (before_fractional in ('v2', 'v3') and after_fractional in ('v2', 'v3'))
);

comment on table property_changes is 'The properties of an environment before and after a change set. Append-only.';
comment on column property_changes.version is 'The version of the properties after the change.';
