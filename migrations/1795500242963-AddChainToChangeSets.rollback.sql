alter table environments
    drop constraint environments_hash_length,
    drop column hash;

alter table change_sets
    drop constraint change_sets_hash_length,
    drop column hash;
