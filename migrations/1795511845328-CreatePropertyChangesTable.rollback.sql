alter table environments
    drop constraint environments_version_positive,
    drop column version;

drop table property_changes;
