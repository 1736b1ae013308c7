-- Expand: what an environment says of itself (its flag set's metadata, bucketing, protection) becomes a part of its history.
-- type: schema
-- phase: core
-- The table of environments has a few rows: checking them takes no time.
-- squawk-ignore-file constraint-missing-not-valid
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
    constraint property_changes_change_set_fkey
        foreign key (environment, revision) references change_sets (environment, revision),
    constraint property_changes_version_counts check (version > 1),
    constraint property_changes_metadata_objects
        check (jsonb_typeof(before_metadata) = 'object' and jsonb_typeof(after_metadata) = 'object'),
    constraint property_changes_fractional_known
        check (before_fractional in ('v2', 'v3') and after_fractional in ('v2', 'v3'))
);

comment on table property_changes is 'What change sets did to their environment''s own properties. Append-only.';
comment on column property_changes.version is 'That of the properties after the change.';

alter table environments
    add column version bigint not null default 1,
    add constraint environments_version_positive check (version > 0);

comment on column environments.version is 'Counts the changes of metadata, fractional and protected.';
