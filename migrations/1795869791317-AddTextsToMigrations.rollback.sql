alter table migrations
    drop column rollback_text,
    drop column applied_text;
