-- Expand: what was applied can be rolled back as it was written then, whatever became of its file.
-- type: schema
-- phase: system
alter table migrations
    add column applied_text text,
    add column rollback_text text;

comment on column migrations.applied_text is 'The file as it was applied. Null for one that an older release applied.';
comment on column migrations.rollback_text is 'Its rollback, as it was then.';
